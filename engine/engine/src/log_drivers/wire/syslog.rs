//! syslog: RFC 3164 (with and without a host name) and RFC 5424.

use dockerapi::Map;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::attributes::About;
use super::super::transport::Address;
use super::Message;
use crate::{Error, Result};

pub(super) const OPTIONS: &[&str] = &[
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
];

const FACILITIES: [&str; 12] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp",
];

/// Where the machine's own syslog listens.
const LOCAL: &str = "/dev/log";

#[derive(Debug)]
pub(super) struct Options {
    facility: u8,
    format: Format,
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Local,
    Rfc3164,
    Rfc5424,
    Rfc5424Micro,
}

pub(super) fn parse(options: &Map<String>) -> Result<(Address, Options)> {
    let get = |key: &str| options.get(key).map_or("", String::as_str);
    if let Some(key) = OPTIONS
        .iter()
        .find(|key| key.starts_with("syslog-tls") && options.contains_key(**key))
    {
        return Err(Error::not_implemented(format!(
            "log option {key} is not supported yet: syslog is not sent over TLS"
        )));
    }
    let address = match get("syslog-address") {
        "" => Address::UnixDatagram(LOCAL.into()),
        text => address(text)?,
    };
    let format = match get("syslog-format") {
        "" => Format::Local,
        "rfc3164" => Format::Rfc3164,
        "rfc5424" => Format::Rfc5424,
        "rfc5424micro" => Format::Rfc5424Micro,
        _ => return Err(Error::invalid("Invalid syslog format")),
    };
    let facility = facility(get("syslog-facility"))?;
    Ok((address, Options { facility, format }))
}

fn address(text: &str) -> Result<Address> {
    let unsupported = |scheme: &str| Error::invalid(format!("unsupported scheme: '{scheme}'"));
    let (scheme, rest) = text.split_once("://").ok_or_else(|| unsupported(""))?;
    match scheme {
        "udp" | "tcp" => {
            let host = rest.trim_end_matches('/');
            let host = match host.rsplit_once(':') {
                Some((_, port)) if !port.ends_with(']') => host.to_owned(),
                _ => format!("{host}:514"),
            };
            Ok(match scheme {
                "udp" => Address::Udp(host),
                _ => Address::Tcp(host),
            })
        }
        "unix" | "unixgram" => {
            if let Err(error) = std::fs::metadata(rest) {
                let why = match error.kind() {
                    std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                    _ => error.to_string(),
                };
                return Err(Error::invalid(format!("stat {rest}: {why}")));
            }
            Ok(match scheme {
                "unix" => Address::Unix(rest.into()),
                _ => Address::UnixDatagram(rest.into()),
            })
        }
        "tcp+tls" => Err(Error::not_implemented(
            "log option syslog-address: tcp+tls is not supported yet",
        )),
        scheme => Err(unsupported(scheme)),
    }
}

fn facility(text: &str) -> Result<u8> {
    if text.is_empty() {
        return facility("daemon");
    }
    let local = text.strip_prefix("local").and_then(|n| n.parse().ok());
    let number = match FACILITIES.iter().position(|name| *name == text) {
        Some(number) => u8::try_from(number).ok(),
        None => match local {
            Some(n) => Some(16u8.saturating_add(n)),
            None => text.parse().ok(),
        },
    };
    number
        .filter(|number| *number <= 23)
        .ok_or_else(|| Error::invalid("invalid syslog facility"))
}

pub(super) fn encode(options: &Options, about: &About, message: &Message) -> Vec<Vec<u8>> {
    if message.line.is_empty() {
        return Vec::new();
    }
    const INFORMATIONAL: u8 = 6;
    const ERROR: u8 = 3;
    let severity = if message.stderr { ERROR } else { INFORMATIONAL };
    let priority = options.facility << 3 | severity;
    let time = Timestamp::from_nanosecond(i128::from(message.nanos)).unwrap_or_default();
    let time = time.to_zoned(TimeZone::system());
    let (tag, host, pid) = (&about.tag, &about.hostname, std::process::id());
    let short = || time.strftime("%b %e %H:%M:%S");
    let head = match options.format {
        Format::Local => format!("<{priority}>{} {tag}[{pid}]: ", short()),
        Format::Rfc3164 => format!("<{priority}>{} {host} {tag}[{pid}]: ", short()),
        Format::Rfc5424 => {
            let time = time.strftime("%Y-%m-%dT%H:%M:%S%:z");
            format!("<{priority}>1 {time} {host} {tag} {pid} {tag} - ")
        }
        Format::Rfc5424Micro => {
            let time = time.strftime("%Y-%m-%dT%H:%M:%S.%6f%:z");
            format!("<{priority}>1 {time} {host} {tag} {pid} {tag} - ")
        }
    };
    vec![[head.as_bytes(), &message.line, b"\n"].concat()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facilities() {
        for (name, number) in [("", 3), ("kern", 0), ("ftp", 11), ("local7", 23), ("5", 5)] {
            assert_eq!(facility(name).expect(name), number);
        }
        for name in ["local8", "24", "x", "-1", "local-1"] {
            assert!(facility(name).is_err(), "{name}");
        }
    }

    #[test]
    fn addresses() {
        assert!(matches!(address("udp://h"), Ok(Address::Udp(h)) if h == "h:514"));
        assert!(matches!(address("tcp://[::1]:9"), Ok(Address::Tcp(h)) if h == "[::1]:9"));
        let error = address("foo://h").expect_err("scheme");
        assert_eq!(error.message, "unsupported scheme: 'foo'");
        let error = address("unix:///nosuch").expect_err("missing");
        assert_eq!(error.message, "stat /nosuch: no such file or directory");
    }

    #[test]
    fn lines() {
        let about = About {
            tag: "t".into(),
            hostname: "h".into(),
            ..About::default()
        };
        let message = Message {
            stderr: true,
            line: b"text".to_vec(),
            ..Message::default()
        };
        let pid = std::process::id();
        let line = |format| {
            let options = Options {
                facility: 3,
                format,
            };
            String::from_utf8(encode(&options, &about, &message).remove(0)).expect("text")
        };
        let local = line(Format::Local);
        assert!(local.starts_with("<27>"), "{local}");
        assert!(local.ends_with(&format!(" t[{pid}]: text\n")), "{local}");
        let full = line(Format::Rfc5424);
        assert!(full.starts_with("<27>1 19"), "{full}");
        assert!(full.ends_with(&format!(" h t {pid} t - text\n")), "{full}");
    }
}
