//! What notation signs (notaryproject/specifications: signature-specification.md,
//! signature-envelope-jws.md): a JWS whose payload is the artifact's descriptor, with the certificates
//! of its signer. Envelopes in COSE are not read, time stamps of authorities and plugins not known.
//!
//! ```text
//!  Envelope::parse ─► verify: signature by the first certificate ─► chain to a root, at a time
//!                        ─► subject ─► expiry ─► revocation ─► descriptor is the artifact's
//! ```

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use serde::Deserialize;
use serde_json::{Map, Value};
use webpki::{EndEntityCert, KeyUsage, ring};

pub use self::policy::{Action, Rules, TrustPolicy, Verification};
pub use self::subject::Identities;
use crate::{Artifact, Refused};

mod policy;
mod subject;

const PAYLOAD: &str = "application/vnd.cncf.notary.payload.v1+json";
const SCHEME: &str = "io.cncf.notary.signingScheme";
const TIME: &str = "io.cncf.notary.signingTime";
const AUTHENTIC: &str = "io.cncf.notary.authenticSigningTime";
const EXPIRY: &str = "io.cncf.notary.expiry";
/// Most certificates of a chain.
const CHAIN: usize = 10;
/// Object identifiers, as in DER: code signing, key usage, distribution points of revocation lists,
/// access to information about the authority, and that of its kind OCSP.
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const REVOKED: &[u8] = &[0x55, 0x1d, 31];
const ACCESS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 1];
const OCSP: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1];
/// What certificates may be signed with.
const CERTIFICATES: &[&dyn SignatureVerificationAlgorithm] = &[
    ring::ECDSA_P256_SHA256,
    ring::ECDSA_P256_SHA384,
    ring::ECDSA_P384_SHA256,
    ring::ECDSA_P384_SHA384,
    ring::RSA_PKCS1_2048_8192_SHA256,
    ring::RSA_PKCS1_2048_8192_SHA384,
    ring::RSA_PKCS1_2048_8192_SHA512,
    ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// Who vouches for the time of a signature: it decides in which trust stores roots are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Nobody: certificates count while they are valid. Stores are `ca`.
    X509,
    /// The signer, who is an authority. Stores are `signingAuthority`.
    SigningAuthority,
}

/// An envelope. Nothing in it is to be believed before [`Envelope::verify`].
#[derive(Debug, Clone)]
pub struct Envelope {
    scheme: Scheme,
    algorithm: String,
    /// When it was made, as its maker says.
    made: Timestamp,
    expiry: Option<Timestamp>,
    /// What is signed, and the signature.
    input: Vec<u8>,
    signature: Vec<u8>,
    payload: Vec<u8>,
    /// The signer's first.
    chain: Vec<CertificateDer<'static>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    payload: String,
    protected: String,
    header: Header,
    signature: String,
}

#[derive(Deserialize)]
struct Header {
    x5c: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    target_artifact: Target,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    media_type: String,
    digest: String,
    size: u64,
}

fn wrong(text: impl std::fmt::Display) -> Refused {
    Refused(format!("notation signature: {text}"))
}

impl Envelope {
    /// Reads an envelope, a JWS in its flattened form.
    ///
    /// # Errors
    /// When it is none, or wants something of who checks it that is not known.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(wrong)?;
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(wrong);
        let protected: Map<String, Value> =
            serde_json::from_slice(&decoded(&raw.protected)?).map_err(wrong)?;
        let text = |name: &str| protected.get(name).and_then(Value::as_str);
        let needed = |name: &str| text(name).ok_or_else(|| wrong(format!("no {name}")));
        let time = |name: &str| -> Result<Timestamp, Refused> {
            needed(name)?
                .parse()
                .map_err(|error| wrong(format!("{name}: {error}")))
        };
        if needed("cty")? != PAYLOAD {
            return Err(wrong(format!("unknown content {:?}", needed("cty")?)));
        }
        let (scheme, made) = match needed(SCHEME)? {
            "notary.x509" => (Scheme::X509, time(TIME)?),
            "notary.x509.signingAuthority" => (Scheme::SigningAuthority, time(AUTHENTIC)?),
            other => return Err(wrong(format!("unknown signing scheme {other:?}"))),
        };
        let expiry = protected.contains_key(EXPIRY);
        let expiry = expiry.then(|| time(EXPIRY)).transpose()?;
        critical(&protected, scheme)?;
        let certificates = raw.header.x5c.iter().map(|text| {
            let bytes = STANDARD.decode(text).map_err(wrong)?;
            Ok(CertificateDer::from(bytes))
        });
        let chain = certificates.collect::<Result<Vec<_>, Refused>>()?;
        if chain.is_empty() || chain.len() > CHAIN {
            return Err(wrong(format!("{} certificates", chain.len())));
        }
        Ok(Self {
            scheme,
            algorithm: needed("alg")?.to_owned(),
            made,
            expiry,
            input: format!("{}.{}", raw.protected, raw.payload).into_bytes(),
            signature: decoded(&raw.signature)?,
            payload: decoded(&raw.payload)?,
            chain,
        })
    }

    /// In which stores roots are to be looked up.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether this artifact was signed by somebody whom one of the roots (certificates in DER)
    /// vouches for. Answers what would have been refused if it were not only to be told.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn verify(
        &self,
        roots: &[Vec<u8>],
        rules: &Rules,
        now: Timestamp,
        artifact: &Artifact<'_>,
    ) -> Result<Vec<String>, Refused> {
        let signer = EndEntityCert::try_from(&self.chain[0]).map_err(certificate)?;
        self.check_signature(&signer)?;
        let mut told = Vec::new();
        let roots: Vec<CertificateDer<'_>> = roots
            .iter()
            .map(|root| CertificateDer::from(root.as_slice()))
            .collect();
        let anchors: Vec<TrustAnchor<'_>> = roots
            .iter()
            .map(webpki::anchor_from_trusted_cert)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(format!("a root of the trust store: {error}")))?;
        self.check_chain(&signer, &anchors, rules, now, &mut told)?;
        rules.identities.check(signer.subject())?;
        if let Some(expiry) = self.expiry.filter(|expiry| *expiry <= now) {
            let text = format!("the signature expired at {expiry}");
            rules.expiry.apply(text, &mut told)?;
        }
        if let Some(text) = self.unknown_revocation() {
            rules.revocation.apply(text, &mut told)?;
        }
        self.check_payload(artifact)?;
        Ok(told)
    }

    /// Whether the first certificate's key made the signature, in the one way such keys do.
    fn check_signature(&self, signer: &EndEntityCert<'_>) -> Result<(), Refused> {
        let info = signer.subject_public_key_info();
        let (name, algorithm) = algorithm(&info).ok_or_else(|| {
            wrong("the signer's key is of a kind that is not supported (P-521 and Ed25519 are not)")
        })?;
        if name != self.algorithm {
            let text = format!("{:?} does not fit the signer's key", self.algorithm);
            return Err(wrong(text));
        }
        let converted;
        let signature = match name.starts_with("ES") {
            true => {
                let length = if name == "ES256" { 64 } else { 96 };
                if self.signature.len() != length {
                    return Err(wrong("cryptographic signature verification failed"));
                }
                converted = der::ecdsa(&self.signature);
                &converted
            }
            false => &self.signature,
        };
        signer
            .verify_signature(algorithm, &self.input, signature)
            .map_err(|_| wrong("cryptographic signature verification failed"))
    }

    fn check_chain(
        &self,
        signer: &EndEntityCert<'_>,
        anchors: &[TrustAnchor<'_>],
        rules: &Rules,
        now: Timestamp,
        told: &mut Vec<String>,
    ) -> Result<(), Refused> {
        if !signs(&self.chain[0]) {
            return Err(wrong("the signer's certificate is not for signatures"));
        }
        let usage = KeyUsage::required_if_present(CODE_SIGNING);
        let at = |time: Timestamp| {
            let since = Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0));
            let time = UnixTime::since_unix_epoch(since);
            let others = &self.chain[1..];
            signer
                .verify_for_usage(CERTIFICATES, anchors, others, time, usage, None, None)
                .map(|_| ())
        };
        let expired = match (self.scheme, at(self.time(now))) {
            (_, Ok(())) => return Ok(()),
            (Scheme::X509, Err(error)) if is_time(&error) => error,
            (_, Err(error)) => return Err(certificate(error)),
        };
        rules.timestamp.apply(certificate(expired).0, told)?;
        // All but the time has to be right still.
        at(self.made).map_err(certificate)
    }

    /// The time at which certificates have to be valid.
    fn time(&self, now: Timestamp) -> Timestamp {
        match self.scheme {
            Scheme::X509 => now,
            Scheme::SigningAuthority => self.made,
        }
    }

    /// What cannot be found out about certificates that say where to ask whether they were revoked.
    fn unknown_revocation(&self) -> Option<String> {
        let asks = |certificate: &CertificateDer<'_>| {
            // One that cannot be read may say so as well.
            der::extensions(certificate).is_none_or(|found| {
                found.iter().any(|(name, value)| {
                    let ocsp = || value.windows(OCSP.len()).any(|part| part == OCSP);
                    *name == REVOKED || (*name == ACCESS && ocsp())
                })
            })
        };
        self.chain.iter().any(asks).then(|| {
            "whether certificates were revoked is not known: asking OCSP servers and for lists is \
             not supported"
                .to_owned()
        })
    }

    fn check_payload(&self, artifact: &Artifact<'_>) -> Result<(), Refused> {
        let payload: Payload = serde_json::from_slice(&self.payload).map_err(wrong)?;
        let target = payload.target_artifact;
        if target.digest != artifact.digest {
            let text = format!("it is for {}, not for {}", target.digest, artifact.digest);
            return Err(wrong(text));
        }
        if target.size != artifact.bytes.len() as u64 || target.media_type != artifact.media_type {
            return Err(wrong("the signed descriptor is not the artifact's"));
        }
        Ok(())
    }
}

/// Whether everything is understood that has to be (RFC 7515, section 4.1.11).
fn critical(protected: &Map<String, Value>, scheme: Scheme) -> Result<(), Refused> {
    let list = protected.get("crit").and_then(Value::as_array);
    let list = list.ok_or_else(|| wrong("no crit"))?;
    for one in list {
        let known = match one.as_str() {
            Some(SCHEME | EXPIRY) => true,
            Some(AUTHENTIC) => scheme == Scheme::SigningAuthority,
            _ => false,
        };
        if !known {
            return Err(wrong(format!("{one} is critical and not supported")));
        }
    }
    let has = |name: &str| list.iter().any(|one| one == name);
    let authentic = scheme == Scheme::SigningAuthority;
    if !has(SCHEME)
        || (protected.contains_key(EXPIRY) && !has(EXPIRY))
        || (authentic && !has(AUTHENTIC))
    {
        return Err(wrong("a header that is critical is not called so"));
    }
    Ok(())
}

/// The one algorithm that signatures of a key are made with (signature-specification.md, "Algorithm
/// Selection"), and its name in JWS.
fn algorithm(info: &[u8]) -> Option<(&'static str, &'static dyn SignatureVerificationAlgorithm)> {
    let (kind, key) = der::key_info(info)?;
    let is = |it: &dyn SignatureVerificationAlgorithm| it.public_key_alg_id().as_ref() == kind;
    if is(ring::ECDSA_P256_SHA256) {
        return Some(("ES256", ring::ECDSA_P256_SHA256));
    }
    if is(ring::ECDSA_P384_SHA384) {
        return Some(("ES384", ring::ECDSA_P384_SHA384));
    }
    if !is(ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY) {
        return None;
    }
    match der::modulus_bits(key)? {
        2048 => Some(("PS256", ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY)),
        3072 => Some(("PS384", ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY)),
        4096 => Some(("PS512", ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY)),
        _ => None,
    }
}

/// Whether a certificate's key may sign: `digitalSignature`, the first bit of its key usage.
fn signs(certificate: &CertificateDer<'_>) -> bool {
    let Some(extensions) = der::extensions(certificate) else {
        return false;
    };
    let usage = extensions.iter().find(|(name, _)| *name == KEY_USAGE);
    usage.is_none_or(|(_, value)| {
        let bits = der::element(value, der::BIT_STRING);
        bits.is_some_and(|(bits, _)| bits.get(1).is_some_and(|first| first & 0x80 != 0))
    })
}

fn is_time(error: &webpki::Error) -> bool {
    use webpki::Error::{CertExpired, CertNotValidYet};
    matches!(error, CertExpired { .. } | CertNotValidYet { .. })
}

fn certificate(error: webpki::Error) -> Refused {
    match error {
        webpki::Error::UnknownIssuer => {
            wrong("no certificate of the trust store vouches for its signer")
        }
        webpki::Error::CertExpired { .. } => wrong("a certificate has expired"),
        webpki::Error::CertNotValidYet { .. } => wrong("a certificate is not valid yet"),
        other => wrong(format!("the signer's certificate: {other}")),
    }
}

#[cfg(test)]
mod tests;
