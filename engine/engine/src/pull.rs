//! Pulling images: not joined yet.

use crate::{Engine, Error, Lines, Result};

impl Engine {
    /// Pulls an image.
    ///
    /// # Errors
    /// Always, for now.
    pub fn image_pull(
        &self,
        _image: &str,
        _tag: &str,
        _platform: Option<&str>,
        _auth: Option<dockerapi::AuthConfig>,
    ) -> Result<Lines<dockerapi::JsonMessage>> {
        Err(Error::not_implemented("pull"))
    }
}
