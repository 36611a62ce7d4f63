//! The journal's native protocol: fields in one packet.

use super::super::attributes::About;
use super::Message;
use crate::clock;

/// Where the journal listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

pub(super) fn encode(about: &About, message: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.line.len() + 512);
    let mut put = |key: &str, value: &[u8]| field(&mut out, key, value);
    put("PRIORITY", if message.stderr { b"3" } else { b"6" });
    put("MESSAGE", &message.line);
    put(
        "CONTAINER_ID",
        about.id.get(..12).unwrap_or(&about.id).as_bytes(),
    );
    put("CONTAINER_ID_FULL", about.id.as_bytes());
    put("CONTAINER_NAME", about.name.as_bytes());
    put("CONTAINER_TAG", about.tag.as_bytes());
    put("IMAGE_NAME", about.image.as_bytes());
    put("SYSLOG_IDENTIFIER", about.tag.as_bytes());
    put("SYSLOG_TIMESTAMP", clock::rfc3339(message.nanos).as_bytes());
    if let Some(piece) = &message.partial {
        put("CONTAINER_PARTIAL_ID", piece.id.as_bytes());
        put(
            "CONTAINER_PARTIAL_ORDINAL",
            piece.ordinal.to_string().as_bytes(),
        );
        put("CONTAINER_PARTIAL_LAST", piece.last.to_string().as_bytes());
        if !piece.last {
            put("CONTAINER_PARTIAL_MESSAGE", b"true");
        }
    }
    for (key, value) in &about.attributes {
        let key = sanitized(key);
        if !key.is_empty() {
            put(&key, value.as_bytes());
        }
    }
    out
}

fn field(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    out.extend(key.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend((value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend(value);
    out.push(b'\n');
}

/// Capitals, digits and underscores, of which none at the front.
fn sanitized(key: &str) -> String {
    let plain = |c: char| match c.to_ascii_uppercase() {
        c @ ('A'..='Z' | '0'..='9') => c,
        _ => '_',
    };
    let all: String = key.chars().map(plain).collect();
    all.trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_both_kinds() {
        let mut out = Vec::new();
        field(&mut out, "A", b"b");
        field(&mut out, "C", b"d\ne");
        assert_eq!(out, b"A=b\nC\n\x03\0\0\0\0\0\0\0d\ne\n");
        assert_eq!(sanitized("_com.x-Y9"), "COM_X_Y9");
    }
}
