//! Entries of Docker's `local` log: protocol buffers, each between two copies of its length (four
//! bytes in network order).

use std::borrow::Cow;

use crate::entry::{Attrs, Entry, Partial, Stream, Time};

/// What every entry begins with, the stream's name cut short.
pub(crate) const START: &[u8] = b"\x0a\x06std";
/// Bytes of a length.
pub(crate) const LENGTH: usize = 4;
/// Docker's readers take no larger entry.
pub(crate) const LARGEST: usize = 1_000_000;

/// Reads an entry; `None` when it is none.
pub(crate) fn parse(record: &[u8]) -> Option<Entry<'_>> {
    let mut entry = Entry {
        stream: Stream::Stdout,
        log: Cow::Borrowed(&[]),
        newline: true,
        time: Time::Nanos(0),
        partial: None,
        attrs: Attrs::None,
    };
    let (mut partial, mut part) = (false, Partial::default());
    let mut attrs = Vec::new();
    for field in Fields(record) {
        match field? {
            (1, Value::Bytes(name)) if name == b"stderr" => entry.stream = Stream::Stderr,
            (2, Value::Number(nanos)) => entry.time = Time::Nanos(nanos.cast_signed()),
            (3, Value::Bytes(line)) => entry.log = Cow::Borrowed(line),
            (4, Value::Number(flag)) => partial = flag != 0,
            (5, Value::Bytes(meta)) => {
                for field in Fields(meta) {
                    match field? {
                        (1, Value::Number(flag)) => part.last = flag != 0,
                        (2, Value::Bytes(id)) => part.id = String::from_utf8_lossy(id),
                        (3, Value::Number(ordinal)) => part.ordinal = ordinal,
                        _ => {}
                    }
                }
            }
            (6, Value::Bytes(pair)) => {
                let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
                for field in Fields(pair) {
                    match field? {
                        (1, Value::Bytes(text)) => key = text,
                        (2, Value::Bytes(text)) => value = text,
                        _ => {}
                    }
                }
                attrs.push((key, value));
            }
            _ => {}
        }
    }
    entry.newline = !partial || part.last;
    entry.partial = partial.then_some(part);
    if !attrs.is_empty() {
        entry.attrs = Attrs::Pairs(attrs);
    }
    Some(entry)
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Fields of a message; a broken one ends them with `None`.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Other)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Other)?,
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

/// An entry as docker would write it, for tests.
#[cfg(test)]
pub(crate) fn encode(line: &[u8], nanos: i64) -> Vec<u8> {
    let mut body = b"\x0a\x06stdout\x10".to_vec();
    let put = |body: &mut Vec<u8>, mut n: u64| {
        while n >= 0x80 {
            body.push(n as u8 | 0x80);
            n >>= 7;
        }
        body.push(n as u8);
    };
    put(&mut body, nanos.cast_unsigned());
    body.push(0x1a);
    put(&mut body, line.len() as u64);
    body.extend(line);
    let length = (body.len() as u32).to_be_bytes();
    [&length[..], &body, &length].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fields() {
        let record = b"\x0a\x06stderr\x10\x05\x1a\x02ab\x20\x01\x2a\x06\x08\x01\x12\x02id\x32\x06\x0a\x01k\x12\x01v\x38\x07";
        let entry = parse(record).expect("entry");
        assert_eq!((entry.stream, &*entry.log), (Stream::Stderr, &b"ab"[..]));
        assert!(entry.newline);
        assert_eq!(entry.nanos(), 5);
        assert_eq!(entry.attrs().get("k").map(String::as_str), Some("v"));
        let begun = parse(b"\x0a\x06stdout\x20\x01\x2a\x04\x12\x02id").expect("entry");
        assert!(!begun.newline);
        for cut in 1..record.len() {
            // Never a panic; some beginnings are entries.
            let _ = parse(&record[..cut]);
        }
        assert!(parse(b"\x1a\xff\xff\xff\xff\x0f").is_none());
        assert!(parse(b"\x0b").is_none());
    }
}
