//! eStargz: a gzip of many members, the last but one of which has the table.

use archive::ItemKind;
use sha2::{Digest as _, Sha256};
use std::io::Read as _;

use crate::map::{BLOCK, Coding, Piece};
use crate::toc::{self, Itself};
use crate::{Error, LONGEST_TOC, Layout};

/// Bytes of the footer.
pub const ESTARGZ_FOOTER: u64 = 51;
const NAME: &str = "stargz.index.json";

/// What the last [`ESTARGZ_FOOTER`] bytes of a blob say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Where the member with the table begins.
    pub toc: u64,
    /// Where the footer begins: the table ends here.
    pub end: u64,
}

impl Footer {
    /// Reads the last bytes of a blob of `length` bytes.
    ///
    /// # Errors
    /// When they are no footer.
    pub fn parse(bytes: &[u8], length: u64) -> Result<Self, Error> {
        let wrong = || Error::malformed("no eStargz footer");
        let field = |range: std::ops::Range<usize>| bytes.get(range).ok_or_else(wrong);
        if bytes.len() as u64 != ESTARGZ_FOOTER
            || field(0..4)? != [0x1f, 0x8b, 8, 4]
            || field(10..16)? != [26, 0, b'S', b'G', 22, 0]
            || field(32..38)? != b"STARGZ"
        {
            return Err(wrong());
        }
        let text = std::str::from_utf8(field(16..32)?).map_err(|_| wrong())?;
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let toc = u64::from_str_radix(text, 16).map_err(|_| wrong())?;
        let end = length.checked_sub(ESTARGZ_FOOTER).ok_or_else(wrong)?;
        match end.checked_sub(toc) {
            Some(size) if size > 0 && size <= LONGEST_TOC => Ok(Self { toc, end }),
            _ => Err(wrong()),
        }
    }

    /// The layout that the table says. `member`: the blob's bytes from `toc` to `end`; `digest`: of
    /// the table's text, hex, from the image's manifest.
    ///
    /// # Errors
    /// When it has another digest, or makes no sense.
    pub fn layout(&self, member: &[u8], digest: &str) -> Result<Layout, Error> {
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(member)
            .take(LONGEST_TOC)
            .read_to_end(&mut tar)
            .map_err(|error| Error::malformed(error.to_string()))?;
        let mut found = None;
        archive::scan(tar.as_slice(), &mut |item| {
            found = found.take().or(Some(item));
            Ok(())
        })?;
        let found = found.filter(|item| item.path.as_os_str() == NAME);
        let Some((item, size, offset)) = found.and_then(|item| match item.kind {
            ItemKind::File {
                size,
                offset: Some(offset),
            } => Some((item, size, offset)),
            _ => None,
        }) else {
            return Err(Error::malformed(format!("no {NAME}")));
        };
        let json = usize::try_from(offset)
            .ok()
            .zip(usize::try_from(size).ok())
            .and_then(|(offset, size)| tar.get(offset..offset.checked_add(size)?))
            .ok_or_else(|| Error::malformed(format!("no {NAME}")))?;
        let text = archive::hex(&Sha256::digest(json));
        if text != digest {
            return Err(Error::Digest {
                what: "table of contents",
                found: text,
                wanted: digest.to_owned(),
            });
        }
        debug_assert_eq!(offset % BLOCK, 0);
        let piece = Piece {
            at: 0,
            length: size,
            blob: self.toc..self.end,
            inner: offset,
            coding: Coding::Gzip,
            digest: text,
        };
        let itself = (size > 0).then_some(Itself { item, piece });
        toc::layout(json, Coding::Gzip, self.toc, itself)
    }
}
