//! Compression, told by its first bytes.

use std::io::{self, BufReader, Chain, Cursor, Read, Write};

use crate::Error;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// By bzip2(1).
    Bzip2,
    /// The .xz format.
    Xz,
}

const PEEK: usize = 10;
/// KiB that unpacking xz may take: enough for `xz -9`, whose dictionary is 64 MiB. (zstd takes at
/// most 128 MiB by itself.)
const XZ_MEMORY: u32 = 128 << 10;

/// The decompressed stream, whatever it was.
///
/// # Errors
/// The reader's own. Those of what is compressed come when it is read.
pub fn decompress<'a, R: Read + Send + 'a>(
    mut reader: R,
) -> Result<(Compression, Box<dyn Read + Send + 'a>), Error> {
    let mut start = [0u8; PEEK];
    let mut filled = 0;
    while filled < PEEK {
        match reader
            .read(&mut start[filled..])
            .map_err(Error::Malformed)?
        {
            0 => break,
            read => filled += read,
        }
    }
    let start = &start[..filled];
    let whole: Chain<Cursor<Vec<u8>>, R> = Cursor::new(start.to_vec()).chain(reader);
    let (kind, stream): (_, Box<dyn Read + Send + 'a>) = match start {
        [0x1f, 0x8b, ..] => (
            Compression::Gzip,
            Box::new(flate2::read::MultiGzDecoder::new(buffered(whole))),
        ),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = zstd::stream::read::Decoder::new(whole).map_err(Error::Malformed)?;
            (Compression::Zstd, Box::new(decoder))
        }
        // A skippable frame comes first in seekable zstd.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let decoder = zstd::stream::read::Decoder::new(whole).map_err(Error::Malformed)?;
            (Compression::Zstd, Box::new(decoder))
        }
        [b'B', b'Z', b'h', ..] => {
            let decoder = bzip2::bufread::MultiBzDecoder::new(buffered(whole));
            (Compression::Bzip2, Box::new(decoder))
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let decoder = lzma_rust2::XzReader::new_mem_limit(buffered(whole), true, XZ_MEMORY);
            (Compression::Xz, Box::new(decoder))
        }
        _ => (Compression::None, Box::new(whole)),
    };
    Ok((kind, stream))
}

fn buffered<R: Read>(reader: R) -> impl io::BufRead {
    BufReader::with_capacity(128 << 10, reader)
}

/// Writes gzip (RFC 1952) without name and time, so that the same bytes give the same stream.
#[derive(Debug)]
pub struct Gzip<W: Write>(flate2::write::GzEncoder<W>);

impl<W: Write> Gzip<W> {
    /// Around a writer.
    pub fn new(writer: W) -> Self {
        Self(flate2::write::GzEncoder::new(
            writer,
            flate2::Compression::default(),
        ))
    }

    /// The writer below.
    pub fn get_mut(&mut self) -> &mut W {
        self.0.get_mut()
    }

    /// Ends the stream and gives the writer back.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::{Compression, decompress};

    fn compressed(program: &str, bytes: &[u8]) -> Vec<u8> {
        let mut child = Command::new(program)
            .arg("-c")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect(program);
        let mut input = child.stdin.take().expect("piped");
        let bytes = bytes.to_vec();
        let writer = std::thread::spawn(move || input.write_all(&bytes));
        let output = child.wait_with_output().expect(program);
        writer.join().expect("a writer").expect("input");
        assert!(output.status.success(), "{program}");
        output.stdout
    }

    #[test]
    fn what_others_compress_is_read() {
        let text: Vec<u8> = (0..200_000u32)
            .flat_map(|n| n.wrapping_mul(n).to_le_bytes())
            .collect();
        for (program, kind) in [
            ("gzip", Compression::Gzip),
            ("zstd", Compression::Zstd),
            ("bzip2", Compression::Bzip2),
            ("xz", Compression::Xz),
        ] {
            let once = compressed(program, &text);
            // One stream after the other, as parallel compressors write them.
            let twice = [once.clone(), once.clone()].concat();
            let (found, mut stream) = decompress(twice.as_slice()).expect(program);
            assert_eq!(found, kind);
            let mut plain = Vec::new();
            stream.read_to_end(&mut plain).expect(program);
            assert!(plain == [text.clone(), text.clone()].concat(), "{program}");
            let cut = &once[..once.len() / 2];
            let (_, mut stream) = decompress(cut).expect(program);
            assert!(stream.read_to_end(&mut Vec::new()).is_err(), "{program}");
        }
    }
}
