//! Layers of a pull that are used before all of them has come.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use lazy::{Plan, Source};
use oci::Digest;
use oci::image::{Descriptor, Manifest};
use registry::Content;

use super::layers::Wanted;
use super::{Pull, blocking};
use crate::{Error, Result};

/// On an image's manifest: digest of its SOCI index, version 2.
const SOCI: &str = "com.amazon.soci.index-digest";
/// On a zTOC: digest of the layer it is of.
const SOCI_LAYER: &str = "com.amazon.soci.image-layer-digest";

impl Pull {
    /// Makes what layers it can usable from their tables of contents. Answers the others, and whether
    /// there was any.
    pub(super) async fn lazily(
        &self,
        wanted: Vec<Wanted>,
        manifest: &Manifest,
    ) -> (Vec<Wanted>, bool) {
        if !self.inner.config.lazy_pull || !self.can_be_lazy().await {
            return (wanted, false);
        }
        let ztocs = self.ztocs(manifest).await;
        // Some round trips for each: side by side, as many as layers are fetched.
        let most = self.inner.live().max_concurrent_downloads.max(1);
        let planned: Vec<_> = stream::iter(wanted)
            .map(|layer| async {
                let planned = self.plan(&layer, &ztocs).await;
                (layer, planned)
            })
            .buffered(most)
            .collect()
            .await;
        let mut rest = Vec::new();
        let mut any = false;
        for (layer, planned) in planned {
            match planned {
                Ok(true) => {
                    any = true;
                    self.report
                        .step(layer.id(), "Ready: the rest comes in the background")
                        .await;
                }
                Ok(false) => rest.push(layer),
                // Nothing of it comes.
                Err(_) if self.cancel.is_cancelled() => rest.push(layer),
                Err(error) => {
                    let blob = &layer.blob.digest;
                    tracing::warn!(%blob, err = %error.message, "a layer has to come as a whole");
                    rest.push(layer);
                }
            }
        }
        (rest, any)
    }

    async fn can_be_lazy(&self) -> bool {
        let inner = Arc::clone(&self.inner);
        let possible = move || {
            let lazy = inner.lazy.as_ref();
            Ok(inner.images.can_be_lazy() && lazy.is_some_and(crate::lazy::Lazy::is_possible))
        };
        blocking(possible).await.unwrap_or(false)
    }

    /// True when the layer can be used from now on.
    async fn plan(&self, layer: &Wanted, ztocs: &BTreeMap<Digest, Descriptor>) -> Result<bool> {
        let (inner, wanted) = (Arc::clone(&self.inner), layer.clone());
        let there = blocking(move || {
            let images = &inner.images;
            Ok(images
                .layer_or_same(&wanted.chain, &wanted.diff_id)
                .is_some())
        });
        if there.await? {
            return Ok(false);
        }
        let source = Source {
            reference: self.reference.to_string(),
            blob: layer.blob.digest.clone(),
            size: layer.blob.size,
            diff_id: layer.diff_id.clone(),
            below: layer.below.clone(),
            first: 0,
        };
        let ztoc = ztocs.get(&layer.blob.digest);
        let planned = Plan::of(&self.repository, &layer.blob, ztoc, source.clone());
        let planned = match self.cancel.run_until_cancelled(planned).await {
            Some(planned) => planned.map_err(Error::invalid)?,
            None => return Err(super::cancelled()),
        };
        let Some(plan) = planned else {
            return self.known_before(layer, source).await;
        };
        let (inner, chain) = (Arc::clone(&self.inner), layer.chain.clone());
        blocking(move || Ok(inner.images.begin_lazy(&chain, plan.into_files())?)).await?;
        Ok(true)
    }

    /// The same of a layer that came before: what was found in it then is used.
    async fn known_before(&self, layer: &Wanted, source: Source) -> Result<bool> {
        let (inner, wanted) = (Arc::clone(&self.inner), layer.clone());
        let kept = move || {
            let (blob, diff_id) = (&wanted.blob, &wanted.diff_id);
            Ok(inner
                .images
                .kept_checkpoints(&blob.digest, blob.size, diff_id))
        };
        let Some(mut kept) = blocking(kept).await? else {
            return Ok(false);
        };
        let (map, windows) = (
            std::mem::take(&mut kept.map),
            std::mem::take(&mut kept.windows),
        );
        let known = (kept.device, map, windows);
        let planned = Plan::known(&self.repository, &layer.blob, source, known);
        let planned = match self.cancel.run_until_cancelled(planned).await {
            Some(planned) => planned.map_err(Error::invalid)?,
            None => return Err(super::cancelled()),
        };
        let Some(files) = planned else {
            return Ok(false);
        };
        let (inner, chain) = (Arc::clone(&self.inner), layer.chain.clone());
        blocking(move || Ok(inner.images.begin_known(&chain, &kept, &files)?)).await?;
        Ok(true)
    }

    /// zTOCs by their layers. An index is used when the manifest names it: what refers to a manifest
    /// from outside (version 1) is vouched for by nobody.
    async fn ztocs(&self, manifest: &Manifest) -> BTreeMap<Digest, Descriptor> {
        let Some(index) = manifest.annotations.get(SOCI) else {
            return BTreeMap::new();
        };
        let index = self.unless_cancelled(self.repository.manifest(index)).await;
        let index = match index.map(|document| document.content) {
            Ok(Content::Manifest(index)) => index,
            Ok(Content::Index(_)) => return BTreeMap::new(),
            Err(error) => {
                tracing::warn!(image = %self.reference, err = %error.message, "SOCI index");
                return BTreeMap::new();
            }
        };
        let of = |ztoc: &Descriptor| ztoc.annotations.get(SOCI_LAYER)?.parse().ok();
        let pairs = index.layers.iter();
        pairs
            .filter_map(|ztoc| Some((of(ztoc)?, ztoc.clone())))
            .collect()
    }

    /// Has those layers of an image supplied that are not whole, with this pull's credentials.
    pub(super) async fn supply(&self, id: &Digest) {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        let credentials = self.credentials.clone();
        let supplied = blocking(move || {
            let Some(lazy) = &inner.lazy else {
                return Ok(());
            };
            let image = inner.images.resolve(id.as_str())?;
            lazy.configure(&inner);
            for (chain, dir) in inner.images.unfinished(&image) {
                lazy.supplier
                    .add(&chain, &dir, Some(credentials.clone()))
                    .map_err(|error| Error::system(error.to_string()))?;
            }
            lazy.wake();
            Ok(())
        });
        if let Err(error) = supplied.await {
            tracing::warn!(image = %self.reference, err = %error.message, "supplying layers");
        }
    }
}
