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
}

const PEEK: usize = 10;

/// The decompressed stream, whatever it was.
///
/// # Errors
/// For compressions that are not supported, and the reader's own.
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
        [b'B', b'Z', b'h', ..] => return Err(Error::Compression("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => return Err(Error::Compression("xz")),
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
