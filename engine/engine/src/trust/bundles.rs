//! Bundles: cosign's signatures since version 3.

use registry::{Repository, Resolved};
use signature::{BUNDLES, Bundle, PublicKey};

use super::{documents, referrers, unsigned};
use crate::Result;

/// Whether one of the keys signed the image, or the index that it was chosen from.
///
/// # Errors
/// Forbidden when none did.
pub(super) async fn check(
    repository: &Repository,
    image: &Resolved,
    keys: &[PublicKey],
    predicates: &[String],
) -> Result<()> {
    let mut reasons = Vec::new();
    for document in documents(image) {
        let artifact = referrers::artifact(document);
        for layer in referrers::layers(repository, document, BUNDLES).await? {
            // Verified against its digest, and bounded.
            let bytes = repository.config(&layer).await?;
            let checked =
                Bundle::parse(&bytes).and_then(|bundle| bundle.verify(keys, predicates, &artifact));
            match checked {
                Ok(()) => return Ok(()),
                Err(refused) => reasons.push(refused.to_string()),
            }
        }
    }
    Err(unsigned(&reasons))
}
