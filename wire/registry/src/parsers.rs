//! What is read of others by hand, for whoever tries to break it: fuzz targets. Nothing else is to use
//! this.

use http::{HeaderMap, HeaderValue, header};

/// Reads a `hosts.toml`; how many endpoints it names.
///
/// # Errors
/// What is wrong with it.
pub fn hosts_file(text: &str) -> Result<usize, String> {
    let dir = std::path::Path::new("/etc/docker/certs.d/registry.example");
    let own = "https://registry.example";
    crate::hosts::parse(text, dir, "registry.example", own).map(|found| found.len())
}

/// Reads the headers of a 401: `WWW-Authenticate` and `Retry-After`. Whether it asks for something.
pub fn challenge(values: &[&[u8]]) -> bool {
    let mut headers = HeaderMap::new();
    for value in values {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(header::WWW_AUTHENTICATE, value.clone());
            headers.append(header::RETRY_AFTER, value.clone());
            headers.append(header::LINK, value);
        }
    }
    let _ = crate::backoff::retry_after(&headers);
    let _ = crate::documents::next_page(&headers);
    crate::auth::Challenge::of(&headers).is_some()
}
