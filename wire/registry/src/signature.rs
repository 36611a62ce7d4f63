//! Public keys and the signatures made with their private ones: what cosign makes with `--key`.
//! ECDSA on P-256 and P-384, Ed25519 and RSA, over SHA-2; the cryptography is rustls' provider's.

use rustls::crypto::ring;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

use crate::{Error, Kind};

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// A key that signatures are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The AlgorithmIdentifier's contents (RFC 5280, section 4.1.1.2).
    algorithm: Vec<u8>,
    key: Vec<u8>,
}

impl PublicKey {
    /// Of `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    /// Invalid for anything else, and for kinds of keys that are not known.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        let invalid = |text: String| Error::new(Kind::Invalid, format!("public key: {text}"));
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem)
            .map_err(|error| invalid(error.to_string()))?;
        let (algorithm, key) =
            parse(&info).ok_or_else(|| invalid("it is no SubjectPublicKeyInfo".into()))?;
        let found = Self {
            algorithm: algorithm.to_vec(),
            key: key.to_vec(),
        };
        let known = found.algorithms().next().is_some();
        match known {
            true => Ok(found),
            false => Err(invalid("of a kind that is not supported".into())),
        }
    }

    /// Whether `signature` over `message` was made with this key's other half.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.algorithms()
            .any(|it| it.verify_signature(&self.key, message, signature).is_ok())
    }

    /// What signatures of this kind of key may be; a wrong one is told apart by the signature.
    fn algorithms(
        &self,
    ) -> impl Iterator<Item = &'static dyn rustls_pki_types::SignatureVerificationAlgorithm> {
        let all = ring::default_provider()
            .signature_verification_algorithms
            .all;
        all.iter()
            .copied()
            .filter(|it| it.public_key_alg_id().as_ref() == self.algorithm.as_slice())
    }
}

/// Algorithm and key of a SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
fn parse(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (info, rest) = element(der, SEQUENCE)?;
    let (algorithm, more) = element(info, SEQUENCE)?;
    let (bits, end) = element(more, BIT_STRING)?;
    // No key has unused bits at its end.
    let (unused, key) = bits.split_first()?;
    (*unused == 0 && rest.is_empty() && end.is_empty()).then_some((algorithm, key))
}

/// Contents of one element in DER, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ ..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    (*found == tag).then(|| rest.split_at_checked(length))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_other_half_signs() {
        // Made for this test; rcgen keeps the private halves.
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ED25519,
        ] {
            let pair = rcgen::KeyPair::generate_for(algorithm).expect("key pair");
            let other = rcgen::KeyPair::generate_for(algorithm).expect("key pair");
            let public = PublicKey::from_pem(pair.public_key_pem().as_bytes()).expect("key");
            use rcgen::SigningKey as _;
            let signature = pair.sign(b"message").expect("signature");
            assert!(public.verifies(b"message", &signature));
            assert!(!public.verifies(b"massage", &signature));
            assert!(!public.verifies(b"message", &other.sign(b"message").expect("signature")));
            assert!(!public.verifies(b"message", b""));
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let pem =
            |body: &str| format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
        for text in [
            "",
            "key",
            &pem(""),
            &pem("MAA="),
            &pem("MIQAAAAA"),
            &pem("//8="),
        ] {
            assert!(PublicKey::from_pem(text.as_bytes()).is_err(), "{text}");
        }
    }
}
