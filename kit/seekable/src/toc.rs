//! The table that eStargz and zstd:chunked share: `stargz.index.json`
//! (github.com/containerd/stargz-snapshotter, docs/estargz.md; github.com/containers/storage,
//! pkg/chunked).

use std::collections::BTreeMap;

use archive::{Item, ItemKind, Metadata, listed};
use base64::Engine as _;
use serde::Deserialize;

use crate::map::{BLOCK, Coding, Map, Piece};
use crate::{Error, Layout};

/// Largest file, far above what anybody has.
const LARGEST_FILE: u64 = 1 << 48;
/// The file whose end is that of what should be there first.
const LANDMARK: &str = ".prefetch.landmark";

#[derive(Debug, Deserialize)]
struct Document {
    version: i64,
    entries: Vec<Entry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    size: u64,
    modtime: Option<String>,
    link_name: String,
    mode: i64,
    uid: i64,
    gid: i64,
    dev_major: i64,
    dev_minor: i64,
    xattrs: BTreeMap<String, String>,
    digest: String,
    offset: u64,
    end_offset: u64,
    inner_offset: u64,
    chunk_offset: u64,
    chunk_size: u64,
    chunk_digest: String,
    chunk_type: String,
}

/// One more file, which the table does not tell of: itself, in eStargz.
pub(crate) struct Itself {
    pub(crate) item: Item,
    pub(crate) piece: Piece,
}

/// Makes a layout of a table. `end`: where the blob's last file ends at the latest.
pub(crate) fn layout(
    json: &[u8],
    coding: Coding,
    end: u64,
    itself: Option<Itself>,
) -> Result<Layout, Error> {
    let document: Document =
        serde_json::from_slice(json).map_err(|error| Error::malformed(error.to_string()))?;
    if document.version != 1 {
        return Err(Error::Unsupported("another version than 1"));
    }
    let ends = ends(&document.entries, end)?;
    let mut made = Made {
        items: Vec::new(),
        pieces: Vec::new(),
        length: 0,
        coding,
        ends: &ends,
    };
    let mut first = 0;
    let mut rest = document.entries.as_slice();
    while let Some((entry, after)) = rest.split_first() {
        let more = after.iter().take_while(|next| next.kind == "chunk").count();
        let (chunks, after) = after.split_at(more);
        if entry.kind != "reg" && !chunks.is_empty() {
            return Err(Error::malformed("chunks of what is no file"));
        }
        if entry.name == LANDMARK {
            first = entry.offset;
        }
        made.add(entry, chunks)?;
        rest = after;
    }
    if let Some(Itself {
        mut item,
        mut piece,
    }) = itself
    {
        piece.at = made.place(piece.length)?;
        if let ItemKind::File { offset, .. } = &mut item.kind {
            *offset = Some(piece.at);
        }
        made.pieces.push(piece);
        made.items.push(item);
    }
    Ok(Layout {
        items: made.items,
        map: Map::new(made.length, made.pieces)?,
        first,
    })
}

/// Offsets at which something ends because something else begins, in order.
fn ends(entries: &[Entry], end: u64) -> Result<Vec<u64>, Error> {
    let mut ends: Vec<u64> = entries
        .iter()
        .flat_map(|entry| [entry.offset, entry.end_offset])
        .filter(|offset| *offset > 0)
        .chain([end])
        .collect();
    ends.sort_unstable();
    ends.dedup();
    match ends.last() {
        Some(last) if *last > end => Err(Error::malformed("files behind the table")),
        _ => Ok(ends),
    }
}

struct Made<'a> {
    items: Vec<Item>,
    pieces: Vec<Piece>,
    length: u64,
    coding: Coding,
    ends: &'a [u64],
}

impl Made<'_> {
    /// Room in the device.
    fn place(&mut self, size: u64) -> Result<u64, Error> {
        let at = self.length;
        self.length = size
            .checked_next_multiple_of(BLOCK)
            .and_then(|size| size.checked_add(at))
            .filter(|length| *length < LARGEST_FILE)
            .ok_or_else(|| Error::malformed("files too large"))?;
        Ok(at)
    }

    fn add(&mut self, entry: &Entry, chunks: &[Entry]) -> Result<(), Error> {
        let kind = match entry.kind.as_str() {
            "dir" => ItemKind::Directory,
            "reg" => {
                let at = self.file(entry, chunks)?;
                ItemKind::File {
                    size: entry.size,
                    offset: Some(at),
                }
            }
            "symlink" => ItemKind::Symlink(entry.link_name.clone().into_bytes()),
            "hardlink" => ItemKind::Link(archive::target(entry.link_name.as_bytes())),
            "char" => ItemKind::Char(number(entry.dev_major)?, number(entry.dev_minor)?),
            "block" => ItemKind::Block(number(entry.dev_major)?, number(entry.dev_minor)?),
            "fifo" => ItemKind::Fifo,
            _ => return Err(Error::Unsupported("an entry of an unknown type")),
        };
        // Bytes that are no UTF-8 have been replaced by the writer: the name is lost.
        if entry.name.contains('\u{fffd}') || entry.link_name.contains('\u{fffd}') {
            return Err(Error::Unsupported("a name that is not UTF-8"));
        }
        let item = listed(entry.name.as_bytes(), metadata(entry)?, kind)?;
        self.items.extend(item);
        Ok(())
    }

    /// Pieces of a file; its offset in the device.
    fn file(&mut self, entry: &Entry, chunks: &[Entry]) -> Result<u64, Error> {
        let at = self.place(entry.size)?;
        if entry.size == 0 {
            return Ok(at);
        }
        let mut done = 0;
        let all = [entry].into_iter().chain(chunks);
        for (number, chunk) in all.enumerate() {
            if number > 0 && (chunk.name != entry.name || chunk.chunk_offset != done) {
                return Err(Error::malformed(format!("chunks of {:?}", entry.name)));
            }
            let left = entry.size - done;
            let length = match chunk.chunk_size {
                0 => left,
                size if size <= left => size,
                _ => return Err(Error::malformed(format!("chunks of {:?}", entry.name))),
            };
            let digest = match chunk.chunk_digest.as_str() {
                // Of the file, when it is in one piece.
                "" if chunks.is_empty() => &entry.digest,
                digest => digest,
            };
            let digest = hex(digest).ok_or(Error::Unsupported("content without a sha256"))?;
            let next = self.ends.partition_point(|end| *end <= chunk.offset);
            let end = self
                .ends
                .get(next)
                .ok_or_else(|| Error::malformed("a file at the blob's end"))?;
            self.pieces.push(Piece {
                at: at + done,
                length,
                blob: chunk.offset..*end,
                inner: chunk.inner_offset,
                coding: match chunk.chunk_type.as_str() {
                    "" => self.coding,
                    "zeros" => Coding::Zeros,
                    _ => return Err(Error::Unsupported("a chunk of an unknown type")),
                },
                digest: digest.to_owned(),
            });
            done += length;
            if done == entry.size && number < chunks.len() {
                return Err(Error::malformed(format!("chunks of {:?}", entry.name)));
            }
        }
        if done != entry.size {
            return Err(Error::malformed(format!(
                "{:?} has {} bytes, its chunks {done}",
                entry.name, entry.size
            )));
        }
        Ok(at)
    }
}

fn metadata(entry: &Entry) -> Result<Metadata, Error> {
    let mut xattrs = Vec::new();
    for (name, value) in &entry.xattrs {
        let value = base64::engine::general_purpose::STANDARD
            .decode(value)
            .map_err(|_| Error::malformed(format!("attribute {name:?} of {:?}", entry.name)))?;
        xattrs.push((name.clone(), value));
    }
    Ok(Metadata {
        mode: (entry.mode & 0o7777) as u32,
        owner: Some((number(entry.uid)?, number(entry.gid)?)),
        mtime: time(entry.modtime.as_deref().unwrap_or_default())?,
        xattrs,
    })
}

fn number(number: i64) -> Result<u32, Error> {
    u32::try_from(number).map_err(|_| Error::malformed(format!("{number} is out of range")))
}

/// RFC 3339; nothing is the epoch.
pub(crate) fn time(text: &str) -> Result<(i64, i64), Error> {
    if text.is_empty() {
        return Ok((0, 0));
    }
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| Error::malformed(format!("time {text:?}")))?;
    let nanos = time.as_nanosecond();
    let seconds = nanos.div_euclid(1_000_000_000);
    // Both fit: the range of timestamps is ten thousand years.
    Ok((seconds as i64, nanos.rem_euclid(1_000_000_000) as i64))
}

/// The hex of a sha256 digest.
pub(crate) fn hex(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix("sha256:")?;
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (hex.len() == 64 && hex.bytes().all(is_hex)).then_some(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    fn made(entries: &str) -> Result<Layout, Error> {
        let json = format!(
            "{{\"version\":1,\"entries\":[{}]}}",
            entries.replace("DIGEST", D)
        );
        layout(json.as_bytes(), Coding::Gzip, 5000, None)
    }

    #[test]
    fn files_are_placed_at_blocks_and_chunks_follow_each_other() {
        let layout = made(
            r#"{"name":"./a","type":"reg","size":700,"offset":10,"chunkSize":300,"chunkDigest":"DIGEST",
                "modtime":"2024-01-02T03:04:05.5Z","mode":33188,"uid":7},
               {"name":"./a","type":"chunk","offset":90,"chunkOffset":300,"chunkDigest":"DIGEST"},
               {"name":"b/.wh.c","type":"reg"},
               {"name":"d","type":"reg","size":1,"offset":400,"digest":"DIGEST","endOffset":450}"#,
        )
        .expect("layout");
        let places = layout.map.pieces.iter();
        let places: Vec<_> = places
            .map(|piece| (piece.at, piece.length, piece.blob.clone()))
            .collect();
        assert_eq!(
            places,
            [(0, 300, 10..90), (300, 400, 90..400), (1024, 1, 400..450)]
        );
        assert_eq!(layout.map.length, 1536);
        assert_eq!(layout.items[0].metadata.mtime, (1_704_164_645, 500_000_000));
        assert_eq!(layout.items[0].metadata.mode, 0o644);
        assert_eq!(layout.items[1].kind, ItemKind::Whiteout);
        assert_eq!(layout.items[1].path.to_str(), Some("b/c"));
    }

    #[test]
    fn tables_that_make_no_sense_are_refused() {
        for entries in [
            // No digest; a hole; too much; too little; behind the table; a chunk of nothing.
            r#"{"name":"a","type":"reg","size":7,"offset":10}"#,
            r#"{"name":"a","type":"reg","size":7,"offset":10,"chunkSize":3,"chunkDigest":"DIGEST"},
               {"name":"a","type":"chunk","offset":90,"chunkOffset":4,"chunkDigest":"DIGEST"}"#,
            r#"{"name":"a","type":"reg","size":7,"offset":10,"chunkSize":8,"chunkDigest":"DIGEST"}"#,
            r#"{"name":"a","type":"reg","size":7,"offset":10,"chunkSize":3,"chunkDigest":"DIGEST"}"#,
            r#"{"name":"a","type":"reg","size":7,"offset":6000,"chunkDigest":"DIGEST"}"#,
            r#"{"name":"a","type":"dir"},{"name":"a","type":"chunk"}"#,
            r#"{"name":"../a","type":"dir"}"#,
            r#"{"name":"a","type":"symlink"}"#,
            r#"{"name":"a","type":"socket"}"#,
            r#"{"name":"a","type":"dir","uid":-1}"#,
            r#"{"name":"a","type":"reg","size":18446744073709551615,"offset":1,"digest":"DIGEST"}"#,
        ] {
            assert!(made(entries).is_err(), "{entries}");
        }
        assert!(layout(br#"{"version":2,"entries":[]}"#, Coding::Gzip, 9, None).is_err());
    }
}
