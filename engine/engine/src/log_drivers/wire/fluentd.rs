//! fluentd's forward protocol, one message at a time: MessagePack `[tag, time, record, options]`.

use dockerapi::Map;

use super::super::attributes::About;
use super::super::options::{flag, size};
use super::super::transport::Address;
use super::Message;
use crate::{Error, Result};

pub(super) const OPTIONS: &[&str] = &[
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-read-timeout",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "fluentd-write-timeout",
];

#[derive(Debug)]
pub(super) struct Options {
    /// The container starts though nobody listens.
    pub(super) later: bool,
    /// The other end confirms.
    pub(super) confirmed: bool,
    /// Nanoseconds are sent.
    precise: bool,
}

pub(super) fn parse(options: &Map<String>) -> Result<(Address, Options)> {
    let text = options.get("fluentd-address").map_or("", String::as_str);
    let address = address(text)
        .map_err(|why| Error::invalid(format!("invalid fluentd-address ({text}): {why}")))?;
    if let Some(limit) = options.get("fluentd-buffer-limit") {
        size(limit, 1024)?;
    }
    // What waits is in the cache, and is tried again with the engine's own pauses.
    for key in [
        "fluentd-async-reconnect-interval",
        "fluentd-buffer-limit",
        "fluentd-max-retries",
        "fluentd-retry-wait",
        "fluentd-write-timeout",
        "fluentd-read-timeout",
    ] {
        if options.contains_key(key) {
            return Err(Error::not_implemented(format!(
                "log option {key} is not supported: what was not sent waits in the log's cache \
                 (cache-max-size, cache-max-file) and is tried again as long as the container is \
                 there"
            )));
        }
    }
    let on = |key: &str| flag(options, key).map(|flag| flag.unwrap_or(false));
    Ok((
        address,
        Options {
            later: on("fluentd-async")?,
            confirmed: on("fluentd-request-ack")?,
            precise: on("fluentd-sub-second-precision")?,
        },
    ))
}

fn address(text: &str) -> std::result::Result<Address, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
    match scheme {
        "unix" if rest.trim_start_matches('/').is_empty() => Err("path is empty".into()),
        "unix" => Ok(Address::Unix(rest.into())),
        "tcp" if rest.contains('/') => Err("should not contain a path element".into()),
        "tcp" => {
            let (host, port) = match rest.rsplit_once(':') {
                Some((host, port)) if !port.ends_with(']') => {
                    (host, port.parse().map_err(|_| "invalid port".to_owned())?)
                }
                _ => (rest, 24224u16),
            };
            let host = if host.is_empty() { "127.0.0.1" } else { host };
            Ok(Address::Tcp(format!("{host}:{port}")))
        }
        "tls" => Err("tls is not supported yet".into()),
        scheme => Err(format!("unsupported scheme: '{scheme}'")),
    }
}

/// Names a message for its confirmation.
pub(super) fn chunk(message: &Message) -> Vec<u8> {
    use sha2::Digest as _;
    let mut digest = sha2::Sha256::new();
    digest.update(message.nanos.to_be_bytes());
    digest.update(&message.line);
    let digest = digest.finalize();
    let hex = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
    hex.collect::<String>().into_bytes()
}

pub(super) fn encode(options: &Options, about: &About, message: &Message) -> Vec<u8> {
    let mut out = vec![0x94];
    put_text(&mut out, about.tag.as_bytes());
    let (seconds, nanos) = (message.nanos / 1_000_000_000, message.nanos % 1_000_000_000);
    // Seconds until 2106, as the protocol has them.
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX).to_be_bytes();
    if options.precise {
        let nanos = u32::try_from(nanos).unwrap_or(0).to_be_bytes();
        out.extend([0xd7, 0x00]);
        out.extend(seconds);
        out.extend(nanos);
    } else {
        out.push(0xce);
        out.extend(seconds);
    }
    let source = if message.stderr { "stderr" } else { "stdout" };
    let mut record: Map<Vec<u8>> = [
        ("container_id", about.id.clone().into_bytes()),
        ("container_name", format!("/{}", about.name).into_bytes()),
        ("source", source.into()),
        ("log", message.line.clone()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    for (key, value) in &about.attributes {
        record.insert(key.clone(), value.clone().into_bytes());
    }
    if let Some(piece) = &message.partial {
        let mut put = |key: &str, value: String| record.insert(key.to_owned(), value.into_bytes());
        put("partial_message", "true".into());
        put("partial_id", piece.id.clone());
        put("partial_ordinal", piece.ordinal.to_string());
        put("partial_last", piece.last.to_string());
    }
    out.push(0xde);
    // Labels and variables of one container: below the limit of its configuration's size.
    out.extend(
        u16::try_from(record.len())
            .unwrap_or(u16::MAX)
            .to_be_bytes(),
    );
    for (key, value) in record.iter().take(usize::from(u16::MAX)) {
        put_text(&mut out, key.as_bytes());
        put_text(&mut out, value);
    }
    if options.confirmed {
        out.push(0x81);
        put_text(&mut out, b"chunk");
        put_text(&mut out, &chunk(message));
    } else {
        out.push(0x80);
    }
    out
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(0xdb);
    out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert!(matches!(address(""), Ok(Address::Tcp(a)) if a == "127.0.0.1:24224"));
        assert!(matches!(address("h"), Ok(Address::Tcp(a)) if a == "h:24224"));
        assert!(matches!(address("tcp://h:9"), Ok(Address::Tcp(a)) if a == "h:9"));
        assert!(matches!(address("unix:///s"), Ok(Address::Unix(_))));
        for bad in ["unix://", "foo://h", "tcp://h/x", "h:port"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_message_is_an_array_of_four() {
        let options = Options {
            later: false,
            confirmed: false,
            precise: false,
        };
        let about = About {
            tag: "t".into(),
            ..About::default()
        };
        let message = Message {
            nanos: 5_000_000_001,
            line: b"x".to_vec(),
            ..Message::default()
        };
        let bytes = encode(&options, &about, &message);
        assert_eq!(bytes[..12], *b"\x94\xdb\0\0\0\x01t\xce\0\0\0\x05");
        assert_eq!(bytes[12..15], [0xde, 0, 4]);
        assert_eq!(bytes.last(), Some(&0x80));
    }
}
