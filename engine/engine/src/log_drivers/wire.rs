//! What the remote log drivers send, and their options.
//!
//! | driver | message |
//! |---|---|
//! | syslog | a line of RFC 3164 or RFC 5424 |
//! | gelf | JSON: over UDP compressed and in chunks, over TCP ended by a zero |
//! | fluentd | MessagePack `[tag, time, record, options]` of the forward protocol |
//! | journald | fields of the journal's native protocol |

mod fluentd;
mod gelf;
mod journald;
mod syslog;

use dockerapi::Map;

use super::attributes::About;
use super::transport::Address;
use crate::Result;

/// One entry to be sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Message {
    pub(super) stderr: bool,
    /// Nanoseconds since 1970.
    pub(super) nanos: i64,
    /// Without its newline.
    pub(super) line: Vec<u8>,
    pub(super) partial: Option<Piece>,
}

/// Which piece of a long line.
#[derive(Debug, Clone, Default)]
pub(super) struct Piece {
    pub(super) id: String,
    pub(super) ordinal: u64,
    pub(super) last: bool,
}

/// Where to send, and how.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(super) address: Address,
    format: Format,
}

#[derive(Debug)]
enum Format {
    Syslog(syslog::Options),
    Gelf(gelf::Options),
    Fluentd(fluentd::Options),
    Journald,
}

/// Options that only this driver has; `None` for no driver.
pub(super) fn option_names(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "syslog" => syslog::OPTIONS,
        "gelf" => gelf::OPTIONS,
        "fluentd" => fluentd::OPTIONS,
        "journald" => &[],
        _ => return None,
    })
}

/// Reads the options of a driver that [`option_names`] knows.
pub(super) fn remote(kind: &str, options: &Map<String>) -> Result<Remote> {
    let (address, format) = match kind {
        "syslog" => {
            let (address, options) = syslog::parse(options)?;
            (address, Format::Syslog(options))
        }
        "gelf" => {
            let (address, options) = gelf::parse(options)?;
            (address, Format::Gelf(options))
        }
        "fluentd" => {
            let (address, options) = fluentd::parse(options)?;
            (address, Format::Fluentd(options))
        }
        _ => (
            Address::UnixDatagram(journald::SOCKET.into()),
            Format::Journald,
        ),
    };
    Ok(Remote { address, format })
}

impl Remote {
    /// Packets, or parts of a stream, that carry a message; none when there is nothing to send.
    pub(super) fn encode(&self, about: &About, message: &Message) -> Vec<Vec<u8>> {
        match &self.format {
            Format::Syslog(options) => syslog::encode(options, about, message),
            Format::Gelf(options) => gelf::encode(options, about, message),
            Format::Fluentd(options) => vec![fluentd::encode(options, about, message)],
            Format::Journald => vec![journald::encode(about, message)],
        }
    }

    /// The first connection may fail without failing the container's start.
    pub(super) fn connects_later(&self) -> bool {
        matches!(&self.format, Format::Fluentd(options) if options.later)
    }

    /// Bytes by which the other end confirms a message; `None` when it does not.
    pub(super) fn confirmation(&self, message: &Message) -> Option<Vec<u8>> {
        match &self.format {
            Format::Fluentd(options) if options.confirmed => Some(fluentd::chunk(message)),
            _ => None,
        }
    }
}
