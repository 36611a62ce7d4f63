//! GELF 1.1: JSON messages, over UDP compressed and cut into chunks, over TCP ended by a zero byte.

use std::io::Write as _;

use dockerapi::Map;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::super::attributes::About;
use super::super::transport::Address;
use super::Message;
use crate::{Error, Result};

pub(super) const OPTIONS: &[&str] = &[
    "gelf-address",
    "gelf-compression-type",
    "gelf-compression-level",
    "gelf-tcp-max-reconnect",
    "gelf-tcp-reconnect-delay",
];

/// Bytes of a packet, its head included.
const PACKET: usize = 1420;
const HEAD: usize = 12;
/// Chunks of one message.
const MOST: usize = 128;

#[derive(Debug)]
pub(super) struct Options {
    udp: bool,
    packing: Packing,
    level: Compression,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Gzip,
    Zlib,
    Plain,
}

pub(super) fn parse(options: &Map<String>) -> Result<(Address, Options)> {
    let text = options
        .get("gelf-address")
        .filter(|text| !text.is_empty())
        .ok_or_else(|| Error::invalid("gelf-address is a required parameter"))?;
    let endpoint = || Error::invalid("gelf: endpoint needs to be TCP or UDP");
    let (scheme, host) = text.split_once("://").ok_or_else(endpoint)?;
    let udp = match scheme {
        "udp" => true,
        "tcp" => false,
        _ => return Err(endpoint()),
    };
    let host = host.trim_end_matches('/');
    if host
        .rsplit_once(':')
        .is_none_or(|(_, port)| port.parse::<u16>().is_err())
    {
        return Err(Error::invalid(
            "gelf: please provide gelf-address as proto://host:port",
        ));
    }
    for (key, value) in options {
        let number = value.parse::<i32>();
        let unknown = || {
            Error::invalid(format!(
                "unknown value {value:?} for log opt {key:?} for gelf log driver"
            ))
        };
        match key.as_str() {
            "gelf-compression-type" | "gelf-compression-level" if !udp => {
                return Err(Error::invalid("compression is only supported on UDP"));
            }
            "gelf-compression-type" if !matches!(value.as_str(), "gzip" | "zlib" | "none") => {
                return Err(unknown());
            }
            "gelf-compression-level" if !number.is_ok_and(|n| (-1..=9).contains(&n)) => {
                return Err(unknown());
            }
            "gelf-tcp-max-reconnect" | "gelf-tcp-reconnect-delay" => {
                if udp {
                    return Err(Error::invalid(format!("{key:?} is only valid for TCP")));
                }
                return Err(Error::not_implemented(format!(
                    "log option {key} is not supported: what was not sent is tried again as long \
                     as the container is there"
                )));
            }
            _ => {}
        }
    }
    let level = options
        .get("gelf-compression-level")
        .and_then(|level| level.parse().ok());
    let address = match udp {
        true => Address::Udp(host.to_owned()),
        false => Address::Tcp(host.to_owned()),
    };
    let packing = match options.get("gelf-compression-type").map(String::as_str) {
        Some("zlib") => Packing::Zlib,
        Some("none") => Packing::Plain,
        _ => Packing::Gzip,
    };
    Ok((
        address,
        Options {
            udp,
            packing,
            // -1 is the default of the format.
            level: level.map_or_else(Compression::fast, Compression::new),
        },
    ))
}

pub(super) fn encode(options: &Options, about: &About, message: &Message) -> Vec<Vec<u8>> {
    if message.line.is_empty() {
        return Vec::new();
    }
    let mut json = json(about, message);
    if !options.udp {
        json.push(0);
        return vec![json];
    }
    let packed = match options.packing {
        Packing::Plain => Ok(json),
        Packing::Gzip => {
            let mut packer = GzEncoder::new(Vec::new(), options.level);
            packer.write_all(&json).and_then(|()| packer.finish())
        }
        Packing::Zlib => {
            let mut packer = ZlibEncoder::new(Vec::new(), options.level);
            packer.write_all(&json).and_then(|()| packer.finish())
        }
    };
    // Writing into memory does not fail.
    packed.map(chunks).unwrap_or_default()
}

fn json(about: &About, message: &Message) -> Vec<u8> {
    let mut object = serde_json::Map::new();
    let mut put = |key: &str, value: serde_json::Value| object.insert(key.to_owned(), value);
    put("version", "1.1".into());
    put("host", about.hostname.clone().into());
    put(
        "short_message",
        String::from_utf8_lossy(&message.line).into(),
    );
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds of this century fit"
    )]
    put(
        "timestamp",
        ((message.nanos / 1_000_000) as f64 / 1000.0).into(),
    );
    put("level", if message.stderr { 3 } else { 6 }.into());
    put("_command", about.command.clone().into());
    put("_container_id", about.id.clone().into());
    put("_container_name", about.name.clone().into());
    put("_created", about.created.clone().into());
    put("_image_id", about.image_id.clone().into());
    put("_image_name", about.image.clone().into());
    put("_tag", about.tag.clone().into());
    for (key, value) in &about.attributes {
        let key = match key.starts_with('_') {
            true => key.clone(),
            false => format!("_{key}"),
        };
        put(&key, value.clone().into());
    }
    // Texts and numbers always serialise.
    serde_json::to_vec(&object).unwrap_or_default()
}

/// A message of more than 128 chunks cannot be sent: it is dropped, as the format says.
fn chunks(packed: Vec<u8>) -> Vec<Vec<u8>> {
    if packed.len() <= PACKET {
        return vec![packed];
    }
    let pieces: Vec<&[u8]> = packed.chunks(PACKET - HEAD).collect();
    let Some(count) = u8::try_from(pieces.len())
        .ok()
        .filter(|n| usize::from(*n) <= MOST)
    else {
        return Vec::new();
    };
    let mut id = [0u8; 8];
    if rustix::rand::getrandom(&mut id[..], rustix::rand::GetRandomFlags::empty()).is_err() {
        id = crate::clock::now().to_be_bytes();
    }
    (0u8..)
        .zip(pieces)
        .map(|(n, piece)| [&[0x1e, 0x0f][..], &id, &[n, count], piece].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_go_in_chunks() {
        let one = chunks(vec![1; PACKET]);
        assert_eq!(one.len(), 1);
        let packed: Vec<u8> = (0..5000u32).flat_map(u32::to_le_bytes).collect();
        let many = chunks(packed.clone());
        assert_eq!(many.len(), packed.len().div_ceil(PACKET - HEAD));
        let mut joined: Vec<u8> = Vec::new();
        for (n, chunk) in many.iter().enumerate() {
            assert_eq!(chunk[..2], [0x1e, 0x0f]);
            assert_eq!(chunk[2..10], many[0][2..10]);
            assert_eq!((chunk[10] as usize, chunk[11] as usize), (n, many.len()));
            joined.extend(&chunk[HEAD..]);
        }
        assert_eq!(joined, packed);
        assert!(chunks(vec![0; MOST * PACKET]).is_empty());
    }

    #[test]
    fn options_are_checked() {
        let parse = |pairs: &[(&str, &str)]| {
            let options = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            parse(&options.collect()).map_err(|error| error.message)
        };
        assert!(
            parse(&[
                ("gelf-address", "udp://h:1"),
                ("gelf-compression-level", "9")
            ])
            .is_ok()
        );
        assert_eq!(
            parse(&[
                ("gelf-address", "tcp://h:1"),
                ("gelf-compression-type", "gzip")
            ])
            .expect_err("tcp"),
            "compression is only supported on UDP"
        );
        assert_eq!(
            parse(&[("gelf-address", "udp://h")]).expect_err("port"),
            "gelf: please provide gelf-address as proto://host:port"
        );
    }
}
