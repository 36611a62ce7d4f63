//! Leases: layers that are being put together for an image which is not there yet.
//!
//! Without one, a layer that an image being removed had last would vanish between "it is there
//! already" and the commit; and the finished layers of a pull that failed would stay until the next
//! open. A lease answers both: its chains stay while it lives, and those that no image came to have
//! go with it. Leases are in memory only; what a crash leaves is swept at open.

use std::fmt;
use std::sync::Arc;

use crate::Store;

/// Keeps layers until it is dropped.
pub struct Lease {
    store: Arc<Store>,
    chains: Vec<String>,
}

impl Lease {
    pub(crate) fn new(store: Arc<Store>, chains: Vec<String>) -> Self {
        store.catalog.lease(&chains);
        Self { store, chains }
    }

    /// Of what the catalog has counted already.
    pub(crate) fn counted(store: Arc<Store>, chains: Vec<String>) -> Self {
        Self { store, chains }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let store = &self.store;
        let discard = |key: &str| store.discard(key);
        store.catalog.release(&self.chains, &discard);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("chains", &self.chains)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use crate::{Expected, Images};

    /// An empty tar, and the chain it makes as a base layer.
    const TAR: [u8; 1024] = [0; 1024];

    fn store(root: &Path) -> Images {
        let database = redb::Database::create(root.join("db")).expect("database");
        Images::open(root, Arc::new(database)).expect("store")
    }

    fn config(diff_id: &oci::Digest) -> Vec<u8> {
        format!(r#"{{"os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#).into()
    }

    #[test]
    fn layers_that_no_image_came_to_have_go_with_their_lease() {
        let dir = tempfile::tempdir().expect("temp dir");
        let images = store(dir.path());
        let layer = images
            .ingest_layer(TAR.as_slice(), &Expected::default())
            .expect("layer");
        let (one, two) = (
            images.lease(vec![layer.chain.clone()]),
            images.lease(vec![layer.chain.clone()]),
        );
        drop(one);
        assert!(images.layer(&layer.chain).is_some(), "leased a second time");
        drop(two);
        assert!(images.layer(&layer.chain).is_none());
    }

    #[test]
    fn a_layer_that_becomes_an_image_is_held_before_it_can_be_seen() {
        let dir = tempfile::tempdir().expect("temp dir");
        let images = store(dir.path());
        let mut lease = None;
        let layer = images
            .0
            .ingest_held(TAR.as_slice(), &Expected::default(), &mut |chain| {
                assert!(images.layer(chain).is_none());
                lease = Some(images.lease(vec![chain.to_owned()]));
            });
        let layer = layer.expect("layer");
        assert!(images.layer(&layer.chain).is_some());
        assert!(images.scrub().expect("scrubbed").strays.is_empty());
        drop(lease);
        assert!(images.layer(&layer.chain).is_none());
    }

    #[test]
    fn a_lease_outlives_the_image_that_had_the_layer() {
        let dir = tempfile::tempdir().expect("temp dir");
        let images = store(dir.path());
        let layer = images
            .ingest_layer(TAR.as_slice(), &Expected::default())
            .expect("layer");
        let id = images
            .commit(&config(&layer.diff_id), None, &[])
            .expect("image");
        let lease = images.lease(vec![layer.chain.clone()]);
        assert!(images.remove(&id).expect("removed").is_empty());
        assert!(images.layer(&layer.chain).is_some());
        let id = images
            .commit(&config(&layer.diff_id), None, &[])
            .expect("image again");
        drop(lease);
        assert!(images.is_whole(&images.resolve(id.as_str()).expect("there")));
        assert_eq!(images.remove(&id).expect("removed"), [layer.diff_id]);
        assert!(images.layer(&layer.chain).is_none());
    }
}
