//! Layers as eStargz, zstd:chunked and SOCI's tools write them, by the formats' descriptions.

use std::io::Write as _;

use flate2::{Compress, Compression, FlushCompress};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::flat;

/// Bytes of a chunk; small, so that files have several.
const CHUNK: usize = 1 << 20;
/// Bytes of a span.
const SPAN: usize = 512 << 10;

/// One entry of a layer.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) mtime: u64,
    pub(crate) content: Vec<u8>,
    pub(crate) link: String,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
}

impl Entry {
    pub(crate) fn new(kind: char, name: &str) -> Self {
        Self {
            name: name.into(),
            kind,
            mode: if kind == 'd' { 0o755 } else { 0o644 },
            owner: (0, 0),
            mtime: 1_700_000_000,
            content: Vec::new(),
            link: String::new(),
            device: (0, 0),
            xattrs: Vec::new(),
        }
    }

    pub(crate) fn file(name: &str, content: impl Into<Vec<u8>>) -> Self {
        Self {
            content: content.into(),
            ..Self::new('f', name)
        }
    }

    pub(crate) fn link(kind: char, name: &str, to: &str) -> Self {
        Self {
            link: to.into(),
            ..Self::new(kind, name)
        }
    }

    /// The tar header, with an extended one before it where there are attributes.
    fn header(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let attributes: Vec<(String, &[u8])> = self
            .xattrs
            .iter()
            .map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.as_slice()))
            .collect();
        let pairs = attributes
            .iter()
            .map(|(name, value)| (name.as_str(), *value));
        tar.append_pax_extensions(pairs).expect("attributes");
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(match self.kind {
            'd' => tar::EntryType::Directory,
            'f' => tar::EntryType::Regular,
            'l' => tar::EntryType::Symlink,
            'h' => tar::EntryType::Link,
            'c' => tar::EntryType::Char,
            'p' => tar::EntryType::Fifo,
            other => panic!("kind {other}"),
        });
        header.set_path(&self.name).expect("path");
        if !self.link.is_empty() {
            header.set_link_name(&self.link).expect("link");
        }
        header.set_mode(self.mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(self.mtime);
        header.set_size(self.content.len() as u64);
        header.set_device_major(self.device.0).expect("device");
        header.set_device_minor(self.device.1).expect("device");
        header.set_cksum();
        tar.get_mut().extend_from_slice(header.as_bytes());
        std::mem::take(tar.get_mut())
    }

    fn described(&self) -> Value {
        let time = u128::from(self.mtime);
        let kind = match self.kind {
            'd' => "dir",
            'f' => "reg",
            'l' => "symlink",
            'h' => "hardlink",
            'c' => "char",
            _ => "fifo",
        };
        let xattrs: serde_json::Map<String, Value> = self
            .xattrs
            .iter()
            .map(|(name, value)| (name.clone(), Value::String(base64(value))))
            .collect();
        json!({
            "name": self.name, "type": kind, "size": self.content.len(), "mode": self.mode,
            "uid": self.owner.0, "gid": self.owner.1, "linkName": self.link,
            "modtime": rfc3339(time), "devMajor": self.device.0, "devMinor": self.device.1,
            "xattrs": xattrs,
        })
    }
}

/// Names of files and where the blob has a chunk of them.
type Places = Vec<(String, std::ops::Range<u64>)>;

/// A layer's blob, and what its descriptor says of it.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) media_type: &'static str,
    pub(crate) blob: Vec<u8>,
    pub(crate) annotations: Vec<(String, String)>,
    pub(crate) diff_id: String,
    /// Where the blob has a file's first chunk: names and ranges.
    pub(crate) places: Places,
    /// SOCI's document.
    pub(crate) ztoc: Option<Vec<u8>>,
}

impl Layer {
    /// The part of the blob that has a file.
    pub(crate) fn place(&self, name: &str) -> std::ops::Range<u64> {
        let mut found = self.places.iter().filter(|(other, _)| other == name);
        let first = found.next().expect("a file of the layer").1.clone();
        let last = found.next_back().map_or(first.end, |(_, range)| range.end);
        first.start..last
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let number = (0..3).fold(0u32, |n, i| n << 8 | u32::from(*three.get(i).unwrap_or(&0)));
        for i in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * i) & 63) as usize] as char;
            out.push(if i > three.len() { '=' } else { digit });
        }
    }
    out
}

fn rfc3339(seconds: u128) -> String {
    // Civil date of a day number (Howard Hinnant's algorithm).
    let (days, rest) = ((seconds / 86_400) as i64 + 719_468, seconds % 86_400);
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The plain archive.
pub(crate) fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        out.extend(entry.header());
        out.extend(&entry.content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).expect("gzip");
    out.finish().expect("gzip")
}

/// Compresses headers and chunks each by itself; answers blob, tar, table and places.
fn in_pieces(
    entries: &[Entry],
    compress: &dyn Fn(&[u8]) -> Vec<u8>,
    chunked: bool,
) -> (Vec<u8>, Vec<u8>, Vec<Value>, Places) {
    let (mut blob, mut tar, mut table, mut places) = (vec![], vec![], vec![], vec![]);
    let mut pending: Vec<u8> = Vec::new();
    for entry in entries {
        pending.extend(entry.header());
        let mut described = entry.described();
        let count = entry.content.chunks(CHUNK).count();
        if count > 0 {
            tar.extend(&pending);
            blob.extend(compress(&pending));
            pending.clear();
            described["digest"] = Value::String(digest(&entry.content));
        }
        let first = table.len();
        for (number, chunk) in entry.content.chunks(CHUNK).enumerate() {
            let offset = blob.len() as u64;
            tar.extend(chunk);
            blob.extend(compress(chunk));
            places.push((entry.name.clone(), offset..blob.len() as u64));
            let mut value = match number {
                0 => described.clone(),
                _ => json!({"name": entry.name, "type": "chunk", "chunkOffset": number * CHUNK}),
            };
            value["offset"] = json!(offset);
            // zstd:chunked leaves these out where there is one chunk, eStargz the last one's size.
            if count > 1 || !chunked {
                value["chunkDigest"] = Value::String(digest(chunk));
            }
            if count > 1 && (chunked || number + 1 < count) {
                value["chunkSize"] = json!(chunk.len());
            }
            table.push(value);
        }
        if count == 0 {
            table.push(described);
        } else if chunked {
            table[first]["endOffset"] = json!(blob.len());
        }
        let padding = entry.content.len().next_multiple_of(512) - entry.content.len();
        pending.resize(pending.len() + padding, 0);
    }
    if chunked {
        pending.resize(pending.len() + 1024, 0);
    }
    tar.extend(&pending);
    blob.extend(compress(&pending));
    (blob, tar, table, places)
}

/// docs/estargz.md of stargz-snapshotter.
pub(crate) fn estargz(entries: &[Entry]) -> Layer {
    let (mut blob, mut tar, table, places) = in_pieces(entries, &gzip, false);
    let text = serde_json::to_vec(&json!({"version": 1, "entries": table})).expect("table");
    let start = blob.len();
    let mut own = Entry::file("stargz.index.json", text.clone());
    (own.mode, own.mtime) = (0, 0);
    let member = self::tar(&[own]);
    tar.extend(&member);
    blob.extend(gzip(&member));
    blob.extend([
        0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 26, 0, b'S', b'G', 22, 0,
    ]);
    blob.extend(format!("{start:016x}STARGZ").as_bytes());
    blob.extend([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    Layer {
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip",
        annotations: vec![(
            "containerd.io/snapshot/stargz/toc.digest".into(),
            digest(&text),
        )],
        diff_id: digest(&tar),
        blob,
        places,
        ztoc: None,
    }
}

fn skippable(content: &[u8]) -> Vec<u8> {
    let mut out = vec![0x50, 0x2a, 0x4d, 0x18];
    out.extend((content.len() as u32).to_le_bytes());
    out.extend(content);
    out
}

/// pkg/chunked of containers/storage.
pub(crate) fn chunked(entries: &[Entry]) -> Layer {
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).expect("zstd");
    let (mut blob, tar, table, places) = in_pieces(entries, &zstd, true);
    let text = serde_json::to_vec(&json!({"version": 1, "entries": table})).expect("table");
    let manifest = zstd(&text);
    let offset = blob.len() + 8;
    blob.extend(skippable(&manifest));
    let mut footer = Vec::new();
    for number in [offset, manifest.len(), text.len(), 1, 0, 0, 0] {
        footer.extend((number as u64).to_le_bytes());
    }
    footer.extend(b"GNUlInUx");
    blob.extend(skippable(&footer));
    let name = |last: &str| format!("io.github.containers.zstd-chunked.{last}");
    Layer {
        media_type: "application/vnd.oci.image.layer.v1.tar+zstd",
        annotations: vec![
            (name("manifest-checksum"), digest(&manifest)),
            (
                name("manifest-position"),
                format!("{offset}:{}:{}:1", manifest.len(), text.len()),
            ),
        ],
        diff_id: digest(&tar),
        blob,
        places,
        ztoc: None,
    }
}

/// A deflate stream's next bytes. They end at a whole byte, and what follows may refer to them.
fn deflated(stream: &mut Compress, bytes: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + (64 << 10));
    let before = stream.total_in();
    while stream.total_in() - before < bytes.len() as u64 {
        let done = (stream.total_in() - before) as usize;
        out.reserve(64 << 10);
        stream
            .compress_vec(&bytes[done..], &mut out, flush)
            .expect("deflate");
    }
    let mut ended = flush != FlushCompress::Finish;
    while !ended {
        out.reserve(64 << 10);
        let status = stream.compress_vec(&[], &mut out, flush).expect("deflate");
        ended = status == flate2::Status::StreamEnd;
    }
    out
}

/// An ordinary gzip layer and the document that makes it seekable (ztoc/ of soci-snapshotter).
pub(crate) fn soci(entries: &[Entry]) -> Layer {
    let tar = tar(entries);
    let mut blob = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let mut stream = Compress::new(Compression::fast(), false);
    let mut points: Vec<(usize, usize)> = Vec::new();
    let mut spans = tar.chunks(SPAN).peekable();
    let mut done = 0;
    while let Some(span) = spans.next() {
        points.push((blob.len(), done));
        let flush = match spans.peek() {
            Some(_) => FlushCompress::Sync,
            None => FlushCompress::Finish,
        };
        blob.extend(deflated(&mut stream, span, flush));
        done += span.len();
    }
    let mut check = flate2::Crc::new();
    check.update(&tar);
    blob.extend(check.sum().to_le_bytes());
    blob.extend((tar.len() as u32).to_le_bytes());
    let ends = points
        .iter()
        .skip(1)
        .map(|point| point.0)
        .chain([blob.len()]);
    let digests: Vec<String> = points
        .iter()
        .zip(ends.clone())
        .map(|(point, end)| digest(&blob[point.0..end]))
        .collect();
    let mut checkpoints = (points.len() as u32).to_le_bytes().to_vec();
    checkpoints.extend((SPAN as u64).to_le_bytes());
    for (compressed, plain) in &points {
        checkpoints.extend((*compressed as u64).to_le_bytes());
        checkpoints.extend((*plain as u64).to_le_bytes());
        checkpoints.push(0);
        let mut window = vec![0; 32 << 10];
        let known = (*plain).min(window.len());
        let start = window.len() - known;
        window[start..].copy_from_slice(&tar[plain - known..*plain]);
        checkpoints.extend(window);
    }
    let mut offset = 0;
    let mut places = Vec::new();
    let mut files = Vec::new();
    let points_of: Vec<(usize, usize, usize)> = points
        .iter()
        .zip(ends)
        .map(|(point, end)| (point.1, point.0, end))
        .collect();
    for entry in entries {
        offset += entry.header().len();
        // Those that have nothing else.
        let spans = points_of.iter().filter(|(plain, _, _)| {
            offset <= *plain && plain + SPAN <= offset + entry.content.len()
        });
        for (_, start, end) in spans {
            places.push((entry.name.clone(), *start as u64..*end as u64));
        }
        files.push((entry.described(), offset as u64, entry.xattrs.clone()));
        offset += entry.content.len().next_multiple_of(512);
    }
    let ztoc = flat::ztoc(
        &files,
        (blob.len() as u64, tar.len() as u64),
        &digests,
        &checkpoints,
    );
    Layer {
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip",
        annotations: Vec::new(),
        diff_id: digest(&tar),
        blob,
        places,
        ztoc: Some(ztoc),
    }
}
