//! Where answers send whoever asked.

use http::{Uri, header};

use crate::transport::Answer;
use crate::{Error, Kind};

/// As Go's client.
pub(crate) const MOST: usize = 10;

/// Where whoever asked for `from` is sent, if anywhere. From TLS to none only where that is `lax`.
pub(crate) fn target(answer: &Answer, from: &Uri, lax: bool) -> Result<Option<Uri>, Error> {
    let location = answer.head.headers.get(header::LOCATION);
    let (301 | 302 | 303 | 307 | 308, Some(location)) = (answer.head.status.as_u16(), location)
    else {
        return Ok(None);
    };
    let to = location.to_str().ok().and_then(|text| join(from, text));
    let Some(to) = to else {
        let text = format!("{from}: invalid redirect {location:?}");
        return Err(Error::new(Kind::Unavailable, text));
    };
    if !lax && from.scheme_str() == Some("https") && to.scheme_str() == Some("http") {
        let text = format!("{from}: redirected to {to}, which is not protected by TLS");
        return Err(Error::new(Kind::Denied, text));
    }
    Ok(Some(to))
}

pub(crate) fn too_many() -> Error {
    Error::new(Kind::Unavailable, format!("stopped after {MOST} redirects"))
}

/// What a `Location` means, seen from `base`.
pub(crate) fn join(base: &Uri, location: &str) -> Option<Uri> {
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    let text = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let dir = base.path().rsplit_once('/').map_or("", |(dir, _)| dir);
        format!("{scheme}://{authority}{dir}/{location}")
    };
    // A fragment is none of the server's business.
    text.split('#').next()?.parse().ok()
}
