//! Entries of Docker's `local` log: protocol buffers between two copies of their length.
//!
//! ```text
//!   length (4 bytes, network order) · LogEntry · length again
//!   LogEntry = 1 source · 2 time_nano · 3 line · 4 partial · 5 { 1 last · 2 id · 3 ordinal } · 6 { 1 key · 2 value }…
//! ```
//!
//! A line longer than a piece is written as several entries with one identifier and the time of
//! the first; only the last one's line ended in a newline, which is not stored.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use super::super::encode::Stream;

/// Bytes of a length.
const LENGTH: usize = 4;
/// Docker's readers take no larger entry.
const LARGEST: usize = 1_000_000;

/// Writes entries into a buffer.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// Field 6, encoded once.
    attrs: Vec<u8>,
    /// Lines begun, by stream.
    begun: [Option<Begun>; 2],
}

#[derive(Debug)]
struct Begun {
    id: [u8; 64],
    time: u64,
    ordinal: u64,
}

impl Encoder {
    /// `attrs` is a JSON object of texts, or empty.
    pub(crate) fn new(attrs: &str) -> io::Result<Self> {
        let mut encoded = Vec::new();
        if !attrs.is_empty() {
            let pairs: std::collections::BTreeMap<String, String> = serde_json::from_str(attrs)?;
            for (key, value) in pairs {
                let mut pair = Vec::new();
                put_bytes(&mut pair, 1, key.as_bytes());
                put_bytes(&mut pair, 2, value.as_bytes());
                put_bytes(&mut encoded, 6, &pair);
            }
        }
        Ok(Self {
            attrs: encoded,
            begun: [None, None],
        })
    }

    /// Appends one entry of the present moment. `head` and `tail` together are its text.
    pub(crate) fn entry(
        &mut self,
        out: &mut Vec<u8>,
        stream: Stream,
        head: &[u8],
        tail: &[u8],
        newline: bool,
    ) {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH]);
        let (name, begun) = match stream {
            Stream::Stdout => (b"stdout", &mut self.begun[0]),
            Stream::Stderr => (b"stderr", &mut self.begun[1]),
        };
        put_bytes(out, 1, name);
        if !newline && begun.is_none() {
            *begun = Some(Begun {
                id: identifier(),
                time: now(),
                ordinal: 1,
            });
        }
        let time = begun.as_ref().map_or_else(now, |begun| begun.time);
        put_number(out, 2, time);
        if head.len() + tail.len() > 0 {
            put_varint(out, 3 << 3 | 2);
            put_varint(out, (head.len() + tail.len()) as u64);
            out.extend_from_slice(head);
            out.extend_from_slice(tail);
        }
        if let Some(part) = begun {
            put_number(out, 4, 1);
            let mut meta = Vec::with_capacity(80);
            if newline {
                put_number(&mut meta, 1, 1);
            }
            put_bytes(&mut meta, 2, &part.id);
            put_number(&mut meta, 3, part.ordinal);
            part.ordinal += 1;
            put_bytes(out, 5, &meta);
            if newline {
                *begun = None;
            }
        }
        out.extend_from_slice(&self.attrs);
        // A piece, a name and attributes of a container's size: far below 4 GiB.
        let length = ((out.len() - start - LENGTH) as u32).to_be_bytes();
        out[start..start + LENGTH].copy_from_slice(&length);
        out.extend_from_slice(&length);
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| time.as_nanos() as u64)
}

/// 64 hexadecimal digits, as docker's identifiers are.
fn identifier() -> [u8; 64] {
    let mut random = [0u8; 32];
    // Without entropy the time tells lines apart well enough.
    if rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::NONBLOCK).is_err() {
        random[..8].copy_from_slice(&now().to_be_bytes());
    }
    let mut text = [0; 64];
    for (at, byte) in random.iter().enumerate() {
        text[2 * at] = b"0123456789abcdef"[usize::from(byte >> 4)];
        text[2 * at + 1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    text
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_number(out: &mut Vec<u8>, field: u64, number: u64) {
    put_varint(out, field << 3);
    put_varint(out, number);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Bytes of the entry that `entries` begins with.
pub(crate) fn first(entries: &[u8]) -> usize {
    let Some(length) = entries.first_chunk::<LENGTH>() else {
        return entries.len();
    };
    let whole = 2 * LENGTH + u32::from_be_bytes(*length) as usize;
    whole.min(entries.len())
}

/// Where the whole entries of a file end: what a crash tore off is not among them.
pub(crate) fn whole(file: &File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let length_at = |at: u64| -> io::Result<u64> {
        let mut length = [0; LENGTH];
        file.read_exact_at(&mut length, at)?;
        Ok(u64::from(u32::from_be_bytes(length)))
    };
    const BOTH: u64 = 2 * LENGTH as u64;
    if size == 0 {
        return Ok(0);
    }
    // The usual case: the last entry is whole.
    if size > BOTH {
        let last = length_at(size - LENGTH as u64)?;
        if last <= LARGEST as u64 && last + BOTH <= size && length_at(size - BOTH - last)? == last {
            return Ok(size);
        }
    }
    let mut end = 0;
    while end + BOTH <= size {
        let length = length_at(end)?;
        if end + BOTH + length > size || length_at(end + LENGTH as u64 + length)? != length {
            break;
        }
        end += BOTH + length;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_as_docker_writes_them() {
        let mut encoder = Encoder::new(r#"{"k":"v"}"#).expect("attrs");
        let mut out = Vec::new();
        encoder.entry(&mut out, Stream::Stderr, b"a", b"b", true);
        let length = out.len() - 8;
        assert_eq!(out[..4], (length as u32).to_be_bytes());
        assert_eq!(out[out.len() - 4..], out[..4]);
        assert_eq!(first(&out), out.len());
        let body = &out[4..out.len() - 4];
        assert_eq!(&body[..9], b"\x0a\x06stderr\x10");
        assert!(
            body.ends_with(b"\x1a\x02ab\x32\x06\x0a\x01k\x12\x01v"),
            "{body:?}"
        );
        // Nine bytes of time: its ten times seven bits hold a nanosecond count of this century.
        assert_eq!(body.len(), 9 + 9 + 4 + 8);
    }

    #[test]
    fn pieces_of_a_line_share_name_and_time() {
        let mut encoder = Encoder::default();
        let mut out = Vec::new();
        encoder.entry(&mut out, Stream::Stdout, b"", b"one", false);
        let second = out.len();
        encoder.entry(&mut out, Stream::Stdout, b"", b"", true);
        let third = out.len();
        encoder.entry(&mut out, Stream::Stdout, b"", b"x", true);
        let part = |from: usize, to: usize| &out[from + 4..to - 4];
        let meta = |entry: &[u8]| {
            let at = entry
                .windows(2)
                .rposition(|w| w == b"\x12\x40")
                .expect("id");
            (entry[at + 2..at + 66].to_vec(), entry[at + 67])
        };
        let (one, two) = (part(0, second), part(second, third));
        assert_eq!(meta(one).0, meta(two).0);
        assert_eq!((meta(one).1, meta(two).1), (1, 2));
        assert_eq!(one[9..18], two[9..18], "time");
        assert!(two.windows(4).any(|w| w == b"\x2a\x46\x08\x01"), "last");
        assert!(!part(third, out.len()).windows(2).any(|w| w == b"\x12\x40"));
    }

    #[test]
    fn a_torn_end_is_found() {
        let mut encoder = Encoder::default();
        let mut out = Vec::new();
        for n in 0..5 {
            encoder.entry(
                &mut out,
                Stream::Stdout,
                b"",
                n.to_string().as_bytes(),
                true,
            );
        }
        let file = tempfile::tempfile().expect("file");
        for cut in 0..=out.len() {
            file.set_len(0).expect("truncate");
            file.write_all_at(&out[..cut], 0).expect("write");
            let entry = out.len() / 5;
            assert_eq!(
                whole(&file).expect("whole"),
                (cut / entry * entry) as u64,
                "{cut}"
            );
        }
    }
}
