//! SOCI's zTOC: a flatbuffer with the files of an ordinary gzip layer and places where decompressing
//! can begin (github.com/awslabs/soci-snapshotter, ztoc/fbs/ztoc.fbs and ztoc/compression).

mod flat;

use archive::{ItemKind, Metadata, listed};

use self::flat::Table;
use crate::map::{BLOCK, Coding, Map, Piece, WINDOW};
use crate::{Error, Layout, toc};

/// Bytes before the checkpoints: their number, and the distance between them.
const HEADER: usize = 12;
/// A checkpoint: two offsets, a number of bits, the window.
const CHECKPOINT: usize = 17 + WINDOW;
const MOST_FILES: usize = 4 << 20;
/// Where a layer's deflate stream begins in old documents, which do not tell of their first place.
const GZIP_HEADER: u64 = 10;
const XATTR: &str = "SCHILY.xattr.";

/// A layout, and the histories at its checkpoints.
#[derive(Debug, Clone)]
pub struct Ztoc {
    /// The device is the tar itself.
    pub layout: Layout,
    /// 32 KiB for each [`Coding::Deflate`]'s window, by their numbers.
    pub windows: Vec<u8>,
}

struct Checkpoint {
    compressed: u64,
    plain: u64,
    bits: u8,
}

impl Ztoc {
    /// Bytes of a window.
    pub const WINDOW: usize = WINDOW;

    /// Reads a document, whose own digest was checked. `size`: bytes of the layer's blob.
    ///
    /// # Errors
    /// When it makes no sense, or is of another layer.
    pub fn parse(bytes: &[u8], size: u64) -> Result<Self, Error> {
        let root = Table::root(bytes)?;
        let (compressed, plain) = (root.number(2, 8)?, root.number(3, 8)?);
        if compressed != size {
            return Err(Error::malformed("of a blob of another length"));
        }
        if plain % BLOCK != 0 {
            return Err(Error::Unsupported("an archive of odd length"));
        }
        let info = root.table(5)?.ok_or_else(|| Error::malformed("no spans"))?;
        let (pieces, windows) = pieces(&info, compressed, plain)?;
        let toc = root.table(4)?.ok_or_else(|| Error::malformed("no files"))?;
        let mut items = Vec::new();
        let files = toc.vector(0)?;
        if files.len() > MOST_FILES {
            return Err(Error::Unsupported("more than four million files"));
        }
        for file in files {
            if let Some(item) = item(&file?, plain)? {
                items.push(item);
            }
        }
        Ok(Self {
            layout: Layout {
                items,
                map: Map::new(plain, pieces)?,
                first: 0,
            },
            windows,
        })
    }
}

fn pieces(info: &Table<'_>, compressed: u64, plain: u64) -> Result<(Vec<Piece>, Vec<u8>), Error> {
    // Absent is gzip.
    if !matches!(info.number(0, 1)?, 0 | 1) {
        return Err(Error::Unsupported("a compression other than gzip"));
    }
    let (points, windows) = checkpoints(info.bytes(3)?)?;
    let digests = info.strings(2)?;
    if digests.len() != points.len() {
        return Err(Error::malformed("the number of spans"));
    }
    let mut pieces = Vec::new();
    for (number, (point, digest)) in points.iter().zip(digests).enumerate() {
        let next = points.get(number + 1);
        let end = next.map_or(plain, |next| next.plain);
        let start = point.compressed.checked_sub(u64::from(point.bits > 0));
        let length = end.checked_sub(point.plain);
        let (Some(start), Some(length)) = (start, length) else {
            return Err(Error::malformed("spans out of order"));
        };
        let blob = start..next.map_or(compressed, |next| next.compressed);
        if length == 0 {
            continue;
        }
        if blob.end > compressed || blob.is_empty() {
            return Err(Error::malformed("spans beyond the blob"));
        }
        let digest = toc::hex(&digest).ok_or(Error::Unsupported("a span without a sha256"))?;
        pieces.push(Piece {
            at: point.plain,
            length,
            blob,
            inner: 0,
            coding: Coding::Deflate {
                bits: point.bits,
                // Bounded by the document's length.
                window: (number > 0).then_some(number as u32),
            },
            digest: digest.to_owned(),
        });
    }
    let covered: u64 = pieces.iter().map(|piece| piece.length).sum();
    if covered != plain {
        return Err(Error::malformed("spans do not cover the archive"));
    }
    Ok((pieces, windows))
}

fn checkpoints(bytes: &[u8]) -> Result<(Vec<Checkpoint>, Vec<u8>), Error> {
    let wrong = || Error::malformed("checkpoints");
    let (header, mut rest) = bytes.split_at_checked(HEADER).ok_or_else(wrong)?;
    let count = header[..4].try_into().map(u32::from_le_bytes);
    let count = count.map_err(|_| wrong())? as usize;
    let mut points = Vec::new();
    let mut windows = Vec::new();
    // Written by an early version, which leaves the first one out.
    if count > 0 && Some(rest.len()) == CHECKPOINT.checked_mul(count - 1) {
        points.push(Checkpoint {
            compressed: GZIP_HEADER,
            plain: 0,
            bits: 0,
        });
        windows.resize(WINDOW, 0);
    } else if count == 0 || Some(rest.len()) != CHECKPOINT.checked_mul(count) {
        return Err(wrong());
    }
    while let Some((point, after)) = rest.split_at_checked(CHECKPOINT) {
        let number = |at: usize| {
            let field = point[at..at + 8].try_into().map(u64::from_le_bytes);
            field.map_err(|_| wrong())
        };
        let bits = point[16];
        if bits > 7 {
            return Err(wrong());
        }
        points.push(Checkpoint {
            compressed: number(0)?,
            plain: number(8)?,
            bits,
        });
        windows.extend_from_slice(&point[17..]);
        rest = after;
    }
    Ok((points, windows))
}

fn item(file: &Table<'_>, plain: u64) -> Result<Option<archive::Item>, Error> {
    let name = file.string(0)?;
    let link = file.string(4)?;
    let number = |field| -> Result<u32, Error> {
        u32::try_from(file.number(field, 8)?)
            .map_err(|_| Error::malformed(format!("a device number of {name:?}")))
    };
    let kind = match file.string(1)? {
        "dir" => ItemKind::Directory,
        "reg" => {
            let (offset, size) = (file.number(2, 8)?, file.number(3, 8)?);
            let end = offset.checked_add(size);
            if size > 0 && (offset % BLOCK != 0 || end.is_none_or(|end| end > plain)) {
                return Err(Error::malformed(format!("the place of {name:?}")));
            }
            ItemKind::File {
                size,
                offset: Some(if size == 0 { 0 } else { offset }),
            }
        }
        "symlink" => ItemKind::Symlink(link.as_bytes().to_vec()),
        "hardlink" => ItemKind::Link(archive::target(link.as_bytes())),
        "char" => ItemKind::Char(number(11)?, number(12)?),
        "block" => ItemKind::Block(number(11)?, number(12)?),
        "fifo" => ItemKind::Fifo,
        _ => return Err(Error::Unsupported("an entry of an unknown type")),
    };
    let mut xattrs = Vec::new();
    for attribute in file.vector(13)? {
        let attribute = attribute?;
        let key = attribute.string(0)?;
        let named = key.strip_prefix(XATTR).or_else(|| {
            let spaces = ["user.", "trusted.", "security.", "system."];
            spaces
                .iter()
                .any(|space| key.starts_with(space))
                .then_some(key)
        });
        if let Some(named) = named {
            let value = attribute.string_bytes(1)?;
            xattrs.push((named.to_owned(), value.to_vec()));
        }
    }
    let metadata = Metadata {
        mode: (file.number(5, 8)? & 0o7777) as u32,
        owner: Some((file.number(6, 4)? as u32, file.number(7, 4)? as u32)),
        mtime: toc::time(file.string(10)?)?,
        xattrs,
    };
    Ok(listed(name.as_bytes(), metadata, kind)?)
}
