//! What is here of an image that has not been pulled: looked at, and nothing changed.

use oci::Digest;

use crate::{Images, partial};

/// How much of a layer is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    /// It can be used. With `lazy`, not all of it has come yet.
    Layer {
        /// Its bytes are still on their way.
        lazy: bool,
    },
    /// So many bytes of its blob; none is 0.
    Bytes(u64),
}

impl Images {
    /// What is here of a layer, by its chain, its diff ID, and the blob of `size` bytes that it comes
    /// as.
    pub fn here(&self, chain: &str, diff_id: &Digest, blob: &Digest, size: u64) -> Here {
        let store = &self.0;
        if store.whole_layer(chain).is_some() {
            return Here::Layer { lazy: false };
        }
        let same = store.catalog.same(diff_id);
        if same.iter().any(|other| store.has_tar(other)) {
            return Here::Layer { lazy: false };
        }
        match store.layer(chain) {
            Some(_) => Here::Layer { lazy: true },
            None => Here::Bytes(partial::bytes_of(store, blob, size)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_look_changes_nothing() {
        let dir = tempfile::tempdir().expect("temp dir");
        let database = redb::Database::create(dir.path().join("db")).expect("database");
        let images = Images::open(dir.path(), Arc::new(database)).expect("store");
        let (blob, diff) = (Digest::sha256(&[1; 32]), Digest::sha256(&[2; 32]));
        let chain = crate::chain_id("", &diff);
        let look = || images.here(&chain, &diff, &blob, 10);
        assert_eq!(look(), Here::Bytes(0));
        assert!(!dir.path().join("partial").join(blob.hex()).exists());
        let partial = images.partial(&blob, 10).expect("partial");
        partial.write(0, b"abc").expect("write");
        assert_eq!(look(), Here::Bytes(3));
        assert_eq!(images.here(&chain, &diff, &blob, 11), Here::Bytes(0));
        drop(partial);
        assert_eq!(look(), Here::Bytes(3));
    }
}
