//! Images of one layer: `docker import`, and the image that is built in.

use std::io::Read;

use oci::image::{Execution, History, ImageConfig, RootFs};
use oci::{Digest, Platform, Reference};

use crate::layers::Expected;
use crate::{Error, Images, ImportOptions};

/// When the built-in image was made: at no time, so that its ID never changes.
const EPOCH: &str = "1970-01-01T00:00:00Z";

impl Images {
    /// Makes an image of a tar of a root file system.
    ///
    /// # Errors
    /// Those of the archive.
    pub fn import(
        &self,
        reader: impl Read + Send,
        options: ImportOptions,
    ) -> Result<Digest, Error> {
        // Held until the image has it: another image with this layer may go meanwhile, and a scrub
        // would take it for a stray.
        let mut lease = None;
        let layer = self
            .0
            .ingest_held(reader, &Expected::default(), &mut |chain| {
                lease = Some(self.lease(vec![chain.to_owned()]));
            })?;
        let platform = options.platform.unwrap_or_else(Platform::host);
        let history = History {
            created: Some(options.created.clone()),
            comment: options.message.clone(),
            ..History::default()
        };
        let config = ImageConfig {
            created: Some(options.created),
            architecture: platform.architecture,
            variant: platform.variant,
            os: platform.os,
            config: options.execution,
            rootfs: RootFs {
                diff_ids: vec![layer.diff_id],
                ..RootFs::default()
            },
            history: vec![history],
            comment: options.message,
            ..ImageConfig::default()
        };
        let bytes = serde_json::to_vec(&config)
            .map_err(|error| Error::Corrupt(format!("image configuration: {error}")))?;
        self.commit(&bytes, None, options.reference.as_slice())
    }

    /// Makes an image of a few files that the program carries, always the same.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn builtin(
        &self,
        reference: &Reference,
        files: &[(&str, u32, &[u8])],
        execution: Execution,
    ) -> Result<Digest, Error> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, mode, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(*mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, path.trim_start_matches('/'), *bytes)
                .map_err(archive::Error::Malformed)?;
        }
        let bytes = tar.into_inner().map_err(archive::Error::Malformed)?;
        self.import(
            bytes.as_slice(),
            ImportOptions {
                execution,
                message: "Built in".into(),
                reference: Some(reference.clone()),
                created: EPOCH.into(),
                ..ImportOptions::default()
            },
        )
    }
}

#[cfg(test)]
mod tests;
