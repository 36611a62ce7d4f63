//! stub
use crate::*; use std::sync::Arc;
pub(crate) fn ensure_builtin(inner: &Arc<Inner>) -> Result<()> {
    let t = std::fs::read("/tmp/lab-peers/bin/true0").unwrap_or_default();
    inner.images.builtin(&"corten/hello:latest".parse().unwrap(), &[("/bin/true0", 0o755, &t), ("/etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")], Default::default()).unwrap(); Ok(()) }
pub(crate) async fn login(_: &Inner, _: dockerapi::AuthConfig) -> Result<(String,String)> { Err(Error::system("")) }
impl From<images::Error> for Error { fn from(e: images::Error) -> Self { Error::system(e.to_string()) } }
