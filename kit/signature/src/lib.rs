//! Signatures of artifacts in registries, checked without asking anybody: with public keys what
//! cosign signs ([`PublicKey`], [`Bundle`]), with certificates what notation signs ([`Envelope`]).
//! Bytes in, a verdict out; who fetches them, and where keys come from, is the caller's business.
//!
//! The cryptography is ring's, chains of certificates are webpki's. Read here are only documents:
//! JSON, and so much of DER as names of keys, subjects and extensions need.

mod bundle;
mod key;
mod notation;

pub use bundle::{BUNDLES, Bundle, SIGNED};
pub use key::PublicKey;
pub use notation::{Action, Envelope, Identities, Rules, Scheme, TrustPolicy, Verification};

/// What must have been signed.
#[derive(Debug, Clone, Copy)]
pub struct Artifact<'a> {
    /// Its media type, as its descriptor has it.
    pub media_type: &'a str,
    /// `sha256:` and 64 digits.
    pub digest: &'a str,
    /// All of it: its digest is known to be right.
    pub bytes: &'a [u8],
}

/// Why a signature does not count, or a document cannot be read: a text for users.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

impl Refused {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
