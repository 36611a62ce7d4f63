//! OCI documents as plain data: runtime configuration, image manifests and configurations,
//! digests, image references and platforms. No files, no sockets.

pub mod digest;
pub mod image;
pub mod platform;
pub mod reference;
pub mod runtime;

pub use digest::Digest;
pub use platform::Platform;
pub use reference::Reference;
