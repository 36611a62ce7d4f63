//! Compiled seccomp filters: nearly all containers share one profile.

use std::sync::{Arc, Mutex};

use compute::{Error, Kind, Result};
use oci::runtime::Seccomp;

use crate::containers::lock;

/// Profiles remembered.
const MOST: usize = 16;

/// The profiles used last, newest first.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    known: Mutex<Vec<(Seccomp, Arc<Vec<u8>>)>>,
}

impl Filters {
    /// `runtime::Filter` of a profile as bytes.
    pub(crate) fn compiled(&self, profile: &Seccomp) -> Result<Arc<Vec<u8>>> {
        let mut known = lock(&self.known);
        if let Some(at) = known.iter().position(|(p, _)| p == profile) {
            known[..=at].rotate_right(1);
            return Ok(Arc::clone(&known[0].1));
        }
        drop(known);
        let filter = runtime::Filter::compile(profile)
            .map_err(|e| Error::new(Kind::Invalid, format!("seccomp profile: {e}")))?;
        let bytes = Arc::new(filter.to_bytes());
        let mut known = lock(&self.known);
        known.truncate(MOST - 1);
        known.insert(0, (profile.clone(), Arc::clone(&bytes)));
        Ok(bytes)
    }
}
