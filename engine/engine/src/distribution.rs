//! `distribution inspect`: what a name stands for at its registry, without pulling it.

use dockerapi::{AuthConfig, DistributionInspect};
use oci::image::{Descriptor, ImageConfig};
use oci::{Platform, Reference};
use registry::{Content, Kind, Repository};

use crate::registries::credentials;
use crate::{Engine, Error, ErrorKind, Result};

impl Engine {
    /// The descriptor of a name and the platforms it is for.
    ///
    /// # Errors
    /// Invalid parameter for a name that is none; not found, forbidden and unauthorized as the
    /// registry says.
    pub async fn distribution_inspect(
        &self,
        name: &str,
        auth: Option<AuthConfig>,
    ) -> Result<DistributionInspect> {
        let reference = name.parse::<Reference>().map(Reference::or_latest);
        let reference = reference.map_err(|error| Error::invalid(error.to_string()))?;
        let credentials = auth.map(credentials).unwrap_or_default();
        let repository = self
            .0
            .registries
            .client()
            .repository(&reference, &credentials);
        let named = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.as_str(),
            (None, tag) => tag.unwrap_or_default(),
        };
        let document = repository
            .manifest(named)
            .await
            .map_err(|error| match error.kind {
                Kind::Denied => Error {
                    kind: ErrorKind::Forbidden,
                    message: error.message,
                },
                _ => error.into(),
            })?;
        let platforms = match &document.content {
            Content::Index(index) => index
                .manifests
                .iter()
                .filter_map(|entry| entry.platform.clone())
                .collect(),
            Content::Manifest(manifest) => platform(&repository, &manifest.config)
                .await?
                .into_iter()
                .collect(),
        };
        let descriptor = Descriptor::new(
            document.media_type,
            document.digest,
            document.bytes.len() as u64,
        );
        Ok(DistributionInspect {
            descriptor,
            platforms,
        })
    }
}

/// What the configuration says, if it says anything: artifacts have none.
async fn platform(repository: &Repository, config: &Descriptor) -> Result<Option<Platform>> {
    let bytes = repository.config(config).await?;
    let Ok(config) = serde_json::from_slice::<ImageConfig>(&bytes) else {
        return Ok(None);
    };
    let platform = config.platform();
    Ok((!platform.os.is_empty() || !platform.architecture.is_empty()).then_some(platform))
}
