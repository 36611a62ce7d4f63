//! Server addresses: `unix:path=/run/x,guid=…;unix:abstract=y`.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;

use crate::{Error, Result};

/// Connects to the first of the addresses that can be.
pub(crate) fn connect(addresses: &str) -> Result<UnixStream> {
    let mut last = Error::Address(addresses.to_owned());
    for address in addresses.split(';').filter(|a| !a.is_empty()) {
        match one(address) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn one(address: &str) -> Result<UnixStream> {
    let unsupported = || Error::Address(address.to_owned());
    let (kind, keys) = address.split_once(':').ok_or_else(unsupported)?;
    if kind != "unix" {
        return Err(unsupported());
    }
    for key in keys.split(',') {
        let (key, value) = key.split_once('=').ok_or_else(unsupported)?;
        let value = unescape(value).ok_or_else(unsupported)?;
        let connected = match key {
            "path" => UnixStream::connect(PathBuf::from(std::ffi::OsString::from_vec(value))),
            "abstract" => {
                SocketAddr::from_abstract_name(&value).and_then(|a| UnixStream::connect_addr(&a))
            }
            _ => continue,
        };
        return connected.map_err(|source| Error::Socket {
            doing: format!("connect to {address}"),
            source,
        });
    }
    Err(unsupported())
}

/// `%20` and its like.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        out.push((digit()? * 16 + digit()?) as u8);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        assert_eq!(unescape("a%20b").unwrap(), b"a b");
        assert_eq!(unescape("%4"), None);
        assert_eq!(unescape("%zz"), None);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for address in ["", "tcp:host=x", "unix:dir=/tmp", "unix", "unix:path"] {
            assert!(
                matches!(connect(address), Err(Error::Address(_))),
                "{address}"
            );
        }
        let error = connect("tcp:host=x;unix:path=/does/not/exist").unwrap_err();
        assert!(error.complete().contains("/does/not/exist"));
    }
}
