//! Who a client is by its certificate, which TLS has verified.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;

/// `2.5.4.3`, the common name.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
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
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let attributes = der::attributes(certificate.subject())?;
    let is_name = |(id, tag, _): &&der::Attribute<'_>| *id == COMMON_NAME && TEXTS.contains(tag);
    let (_, _, text) = attributes.iter().rfind(is_name)?;
    std::str::from_utf8(text).ok().map(str::to_owned)
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
        let common_name = |der: &[u8]| common_name(&CertificateDer::from(der));
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
