//! Readers and writers that digest what passes through them.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

/// Counts and hashes everything that is read.
#[derive(Debug)]
pub struct Digesting<R> {
    inner: R,
    hash: Sha256,
    count: u64,
}

impl<R: Read> Digesting<R> {
    /// Around a reader.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            count: 0,
        }
    }

    /// Reads what is left, then answers the sha256 and the length of everything.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn finish(mut self) -> io::Result<([u8; 32], u64)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((self.hash.finalize().into(), self.count))
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.count += read as u64;
        Ok(read)
    }
}

/// Counts and hashes everything that is written.
#[derive(Debug)]
pub struct DigestingWriter<W> {
    inner: W,
    hash: Sha256,
    count: u64,
}

impl<W: Write> DigestingWriter<W> {
    /// Around a writer.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            count: 0,
        }
    }

    /// The writer below.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// The writer, the sha256 and the length of everything.
    pub fn finish(self) -> (W, [u8; 32], u64) {
        (self.inner, self.hash.finalize().into(), self.count)
    }
}

impl<W: Write> Write for DigestingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
