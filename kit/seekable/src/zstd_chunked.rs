//! zstd:chunked: a zstd of many frames, with the table in a skippable one.

use std::io::Read as _;

use sha2::{Digest as _, Sha256};

use crate::map::Coding;
use crate::{Error, LONGEST_TOC, Layout, toc};

/// Bytes of the newest footer: the frame's header and seven numbers.
pub const ZSTD_FOOTER: u64 = 72;
/// How footers end; the second one is that of early versions.
const MAGICS: [&[u8; 8]; 2] = [b"GNUlInUx", b"GnUlInUx"];
/// Bytes before the content of a skippable frame.
const FRAME_HEADER: u64 = 8;
/// The one kind of table that there is.
const CRFS: u64 = 1;

/// Where the table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// First byte, compressed.
    pub offset: u64,
    /// Bytes, compressed.
    pub length: u64,
    /// Bytes of its text.
    pub plain: u64,
}

impl Position {
    /// From the annotation `io.github.containers.zstd-chunked.manifest-position`:
    /// `offset:length:plain:type`.
    ///
    /// # Errors
    /// When it is no position within a blob of `size` bytes.
    pub fn annotation(text: &str, size: u64) -> Result<Self, Error> {
        let numbers: Vec<u64> = text
            .split(':')
            .map(|number| number.parse().ok())
            .collect::<Option<_>>()
            .unwrap_or_default();
        let [offset, length, plain, kind] = numbers[..] else {
            return Err(Error::malformed(format!("position {text:?}")));
        };
        Self::checked((offset, length, plain, kind), size)
    }

    /// From the last bytes of a blob of `size` bytes: [`ZSTD_FOOTER`] of them, or fewer for a blob
    /// that an old version wrote.
    ///
    /// # Errors
    /// When they are no footer.
    pub fn footer(bytes: &[u8], size: u64) -> Result<Self, Error> {
        let wrong = || Error::malformed("no zstd:chunked footer");
        let mut tails = MAGICS.iter().filter_map(|magic| bytes.strip_suffix(*magic));
        let tail = tails.next().ok_or_else(wrong)?;
        // The newer one has three numbers more, of another table; they come last.
        let start = match tail.len() {
            64 if is_frame(&tail[..8], 64) => 8,
            64 if is_frame(&tail[24..32], 40) => 32,
            40 if is_frame(&tail[..8], 40) => 8,
            _ => return Err(wrong()),
        };
        let number = |at: usize| {
            let field = tail.get(start + at * 8..start + at * 8 + 8);
            field
                .and_then(|field| field.try_into().ok())
                .map(u64::from_le_bytes)
        };
        match (number(0), number(1), number(2), number(3)) {
            (Some(offset), Some(length), Some(plain), Some(kind)) => {
                Self::checked((offset, length, plain, kind), size)
            }
            _ => Err(wrong()),
        }
    }

    fn checked(
        (offset, length, plain, kind): (u64, u64, u64, u64),
        size: u64,
    ) -> Result<Self, Error> {
        if kind != CRFS {
            return Err(Error::Unsupported("another kind of table"));
        }
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > size)
            || offset < FRAME_HEADER
            || length == 0
            || length > LONGEST_TOC
            || plain > LONGEST_TOC
        {
            return Err(Error::malformed("the table's position"));
        }
        Ok(Self {
            offset,
            length,
            plain,
        })
    }

    /// The layout that the table says. `bytes`: as they are in the blob; `digest`: theirs, hex,
    /// from the image's manifest.
    ///
    /// # Errors
    /// When they have another digest, or make no sense.
    pub fn layout(&self, bytes: &[u8], digest: &str) -> Result<Layout, Error> {
        let found = archive::hex(&Sha256::digest(bytes));
        if found != digest {
            return Err(Error::Digest {
                what: "table of contents",
                found,
                wanted: digest.to_owned(),
            });
        }
        let mut json = Vec::new();
        zstd::stream::read::Decoder::new(bytes)
            .map_err(|error| Error::malformed(error.to_string()))?
            .take(self.plain + 1)
            .read_to_end(&mut json)
            .map_err(|error| Error::malformed(error.to_string()))?;
        if json.len() as u64 != self.plain {
            return Err(Error::malformed("the table's length"));
        }
        toc::layout(&json, Coding::Zstd, self.offset - FRAME_HEADER, None)
    }
}

/// The header of a skippable frame with this much content.
fn is_frame(bytes: &[u8], length: u32) -> bool {
    bytes[..4] == [0x50, 0x2a, 0x4d, 0x18] && bytes[4..] == length.to_le_bytes()
}
