//! What can be wrong with a table of contents or with a piece.

/// A table that is not used, or bytes that are not what it says.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table breaks its format.
    #[error("table of contents: {0}")]
    Malformed(String),
    /// The table is valid, but something in it is not supported.
    #[error("table of contents: {0} is not supported")]
    Unsupported(&'static str),
    /// An entry that an archive could not have either.
    #[error("table of contents")]
    Entry(#[from] archive::Error),
    /// A digest differs.
    #[error("{what}: sha256:{found} came, sha256:{wanted} was promised")]
    Digest {
        /// Of what.
        what: &'static str,
        /// Hex.
        found: String,
        /// Hex.
        wanted: String,
    },
    /// Compressed bytes that cannot be decompressed.
    #[error("piece of a layer")]
    Decode(#[source] std::io::Error),
    /// They end before the piece does.
    #[error("piece of a layer: {found} bytes came, {wanted} were promised")]
    Short {
        /// Bytes.
        found: u64,
        /// Bytes.
        wanted: u64,
    },
}

impl Error {
    pub(crate) fn malformed(text: impl Into<String>) -> Self {
        Self::Malformed(text.into())
    }
}
