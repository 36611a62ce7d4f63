//! Who a client is by its certificate, which TLS has verified.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;

/// `2.5.4.3`, the common name.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const EXPLICIT_VERSION: u8 = 0xa0;
/// UTF8String, PrintableString, TeletexString, IA5String: for what names have in them, all bytes of UTF-8.
const TEXTS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];

/// A client with a certificate.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// The common name; empty when there is none.
    pub(crate) name: String,
    /// The chain, as dockerd's plugins get it: PEM, and that once more in base64.
    pub(crate) chain: Vec<String>,
}

impl Peer {
    /// From a chain, the client's own first; `None` for an empty one.
    pub(crate) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let own = chain.first()?;
        Some(Self {
            name: common_name(own).unwrap_or_default(),
            chain: chain.iter().map(|one| STANDARD.encode(pem(one))).collect(),
        })
    }
}

fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

/// The last common name of a certificate's subject, as Go has it.
fn common_name(certificate: &[u8]) -> Option<String> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut facts, _) = element(certificate, SEQUENCE)?;
    if facts.first() == Some(&EXPLICIT_VERSION) {
        facts = skip(facts)?;
    }
    // Serial number, signature, issuer, validity.
    for _ in 0..4 {
        facts = skip(facts)?;
    }
    let (mut subject, _) = element(facts, SEQUENCE)?;
    let mut name = None;
    while !subject.is_empty() {
        let (mut set, rest) = element(subject, SET)?;
        subject = rest;
        while !set.is_empty() {
            let (pair, rest) = element(set, SEQUENCE)?;
            set = rest;
            let (kind, value) = element(pair, OBJECT)?;
            if kind == COMMON_NAME
                && let Some((tag, text, _)) = any(value)
                && TEXTS.contains(&tag)
            {
                name = std::str::from_utf8(text).ok().map(str::to_owned);
            }
        }
    }
    name
}

/// An element of this kind, and what follows it.
fn element(bytes: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = any(bytes)?;
    (tag == kind).then_some((content, rest))
}

fn skip(bytes: &[u8]) -> Option<&[u8]> {
    any(bytes).map(|(_, _, rest)| rest)
}

/// The next element of DER: its tag, content, and what follows.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ 0..=0x7f => (usize::from(short), rest),
        long => {
            let digits = usize::from(long & 0x7f);
            if digits == 0 || digits > 4 {
                return None;
            }
            let (number, rest) = rest.split_at_checked(digits)?;
            let add = |length: usize, byte: &u8| (length << 8) | usize::from(*byte);
            (number.iter().fold(0, add), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::{Peer, common_name};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use rustls_pki_types::CertificateDer;

    #[test]
    fn the_common_name_is_found_and_damage_is_survived() {
        let mut request = rcgen::CertificateParams::new(vec!["x.example".into()]).expect("names");
        let name = &mut request.distinguished_name;
        *name = rcgen::DistinguishedName::new();
        name.push(rcgen::DnType::OrganizationName, "an organization");
        name.push(rcgen::DnType::CommonName, "grüße");
        let key = rcgen::KeyPair::generate().expect("key");
        let der = request
            .self_signed(&key)
            .expect("certificate")
            .der()
            .to_vec();
        assert_eq!(common_name(&der).as_deref(), Some("grüße"));
        for end in 0..der.len() {
            let _ = common_name(&der[..end]);
        }
        for at in 0..der.len() {
            let mut damaged = der.clone();
            damaged[at] ^= 0xff;
            let _ = common_name(&damaged);
        }
        let peer = Peer::of(&[CertificateDer::from(der)]).expect("a client");
        let pem = STANDARD.decode(&peer.chain[0]).expect("base64");
        assert!(pem.starts_with(b"-----BEGIN CERTIFICATE-----\n"));
        assert!(Peer::of(&[]).is_none());
    }
}
