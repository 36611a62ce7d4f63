//! Lines of Docker's json-file log, byte for byte as dockerd writes them:
//! `{"log":"text\n","stream":"stdout","attrs":{…},"time":"2026-01-02T03:04:05.678901234Z"}`.

use std::time::{SystemTime, UNIX_EPOCH};

/// A line longer than this is written in pieces, only the last of which ends in a newline.
pub(crate) const PIECE: usize = 16 * 1024;

/// Which of a process's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, and all output of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Stdout => b"stdout",
            Self::Stderr => b"stderr",
        }
    }
}

/// Writes entries into a buffer.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// `"attrs":{…},` or empty.
    attrs: Vec<u8>,
    clock: Clock,
}

impl Encoder {
    pub(crate) fn new(attrs: &str) -> Self {
        let attrs = match attrs {
            "" => Vec::new(),
            attrs => format!(r#""attrs":{attrs},"#).into_bytes(),
        };
        Self {
            attrs,
            clock: Clock::default(),
        }
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
        out.push(b'{');
        // An entry always has text: a newline, or the piece that was read.
        out.extend_from_slice(br#""log":""#);
        if head.is_empty() {
            escape(out, tail);
        } else {
            // A character may lie across the seam.
            escape(out, &[head, tail].concat());
        }
        if newline {
            out.extend_from_slice(b"\\n");
        }
        out.extend_from_slice(br#"","stream":""#);
        out.extend_from_slice(stream.name());
        out.extend_from_slice(b"\",");
        out.extend_from_slice(&self.attrs);
        out.extend_from_slice(br#""time":""#);
        self.clock.now(out);
        out.extend_from_slice(b"\"}\n");
    }
}

/// Appends `text` as the inside of a JSON string, with dockerd's choice of escapes: `<`, `>` and
/// `&` too, every byte that is not UTF-8 as U+FFFD.
pub(crate) fn escape(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while !rest.is_empty() {
        let plain = rest
            .iter()
            .position(|b| !PLAIN[usize::from(*b)])
            .unwrap_or(rest.len());
        out.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        let Some(&byte) = rest.first() else { return };
        if byte < 0x80 {
            escape_ascii(out, byte);
            rest = &rest[1..];
        } else {
            let run = rest.iter().position(|b| *b < 0x80).unwrap_or(rest.len());
            escape_unicode(out, &rest[..run]);
            rest = &rest[run..];
        }
    }
}

/// Bytes that stand for themselves.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut b = 0x20;
    while b < 0x80 {
        plain[b] = !matches!(b as u8, b'"' | b'\\' | b'<' | b'>' | b'&');
        b += 1;
    }
    plain
};

const HEX: &[u8; 16] = b"0123456789abcdef";

fn escape_ascii(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
    }
}

fn escape_unicode(out: &mut Vec<u8>, run: &[u8]) {
    for chunk in run.utf8_chunks() {
        let mut valid = chunk.valid();
        // The two line separators are the only characters to escape.
        while let Some(at) = valid.find(['\u{2028}', '\u{2029}']) {
            out.extend_from_slice(&valid.as_bytes()[..at]);
            let last = valid.as_bytes()[at + 2];
            out.extend_from_slice(b"\\u202");
            out.push(HEX[usize::from(last & 15)]);
            valid = &valid[at + 3..];
        }
        out.extend_from_slice(valid.as_bytes());
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// Formats the time, the part down to seconds only when it changes.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    second: u64,
    text: Vec<u8>,
}

impl Clock {
    fn now(&mut self, out: &mut Vec<u8>) {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.at(since.as_secs(), since.subsec_nanos(), out);
    }

    /// RFC 3339 in UTC with nanoseconds, trailing zeros left out as Go does.
    pub(crate) fn at(&mut self, second: u64, nanos: u32, out: &mut Vec<u8>) {
        if self.text.is_empty() || second != self.second {
            self.second = second;
            self.text.clear();
            date(second, &mut self.text);
        }
        out.extend_from_slice(&self.text);
        if nanos > 0 {
            let mut digits = [b'0'; 10];
            digits[0] = b'.';
            let mut rest = nanos;
            for digit in digits[1..].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            let end = digits.iter().rposition(|d| *d != b'0').unwrap_or(0) + 1;
            out.extend_from_slice(&digits[..end]);
        }
        out.push(b'Z');
    }
}

/// `2026-01-02T03:04:05` of seconds since 1970.
fn date(second: u64, out: &mut Vec<u8>) {
    let (days, rest) = (second / 86_400, second % 86_400);
    // Days to a civil date, counted from 1 March of year 0 in eras of 400 years.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    out.extend_from_slice(
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}").as_bytes(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &[u8]) -> String {
        let mut out = Vec::new();
        escape(&mut out, text);
        String::from_utf8(out).expect("utf-8")
    }

    #[test]
    fn escapes_as_dockerd_does() {
        assert_eq!(escaped(b"plain ~ text\x7f"), "plain ~ text\u{7f}");
        assert_eq!(escaped(b"\"\\\n\r\t\x1b[0m"), r#"\"\\\n\r\u0009\u001b[0m"#);
        assert_eq!(escaped(b"<a>&"), r"\u003ca\u003e\u0026");
        assert_eq!(
            escaped("é漢\u{2028}x\u{2029}".as_bytes()),
            "é漢\\u2028x\\u2029"
        );
        // Truncated three-byte character, a surrogate, a stray continuation byte.
        assert_eq!(escaped(b"\xe2\x82z"), r"\ufffd\ufffdz");
        assert_eq!(escaped(b"\xed\xa0\x80"), r"\ufffd\ufffd\ufffd");
        assert_eq!(escaped(b"\xc3\xa9\x80"), "é\\ufffd");
    }

    #[test]
    fn formats_time_as_go_does() {
        let text = |second, nanos| {
            let mut out = Vec::new();
            Clock::default().at(second, nanos, &mut out);
            String::from_utf8(out).expect("utf-8")
        };
        assert_eq!(text(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(
            text(951_782_399, 123_456_789),
            "2000-02-28T23:59:59.123456789Z"
        );
        assert_eq!(text(951_868_799, 120_000_000), "2000-02-29T23:59:59.12Z");
        assert_eq!(text(1_735_689_600, 1), "2025-01-01T00:00:00.000000001Z");
        assert_eq!(text(4_107_542_400, 10), "2100-03-01T00:00:00.00000001Z");
    }

    #[test]
    fn an_entry_is_one_line() {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(r#"{"a":"b"}"#);
        // A character cut by the seam of two reads stays whole.
        encoder.entry(&mut out, Stream::Stderr, b"x\xc3", b"\xa9", true);
        let line = String::from_utf8(out).expect("utf-8");
        let (front, time) = line.split_at(line.find("\"time\"").expect("time"));
        assert_eq!(
            front,
            r#"{"log":"xé\n","stream":"stderr","attrs":{"a":"b"},"#
        );
        assert!(
            time.starts_with("\"time\":\"20") && time.ends_with("Z\"}\n"),
            "{time}"
        );
    }
}
