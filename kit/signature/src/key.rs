//! Public keys and the signatures made with their private ones: what cosign makes with `--key`.
//! ECDSA on P-256 and P-384, Ed25519 and RSA, over SHA-2.

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use webpki::ring;

use crate::Refused;

/// What signatures may be: the kinds of keys and digests that cosign makes them with.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    ring::ECDSA_P256_SHA256,
    ring::ECDSA_P256_SHA384,
    ring::ECDSA_P384_SHA256,
    ring::ECDSA_P384_SHA384,
    ring::ED25519,
    ring::RSA_PKCS1_2048_8192_SHA256,
    ring::RSA_PKCS1_2048_8192_SHA384,
    ring::RSA_PKCS1_2048_8192_SHA512,
    ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

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
    /// For anything else, and for kinds of keys that are not known.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Refused> {
        let invalid = |text: String| Refused(format!("public key: {text}"));
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem)
            .map_err(|error| invalid(error.to_string()))?;
        let (algorithm, key) =
            der::key_info(&info).ok_or_else(|| invalid("it is no SubjectPublicKeyInfo".into()))?;
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
    fn algorithms(&self) -> impl Iterator<Item = &'static dyn SignatureVerificationAlgorithm> {
        let all = ALGORITHMS.iter().copied();
        all.filter(|it| it.public_key_alg_id().as_ref() == self.algorithm.as_slice())
    }
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
