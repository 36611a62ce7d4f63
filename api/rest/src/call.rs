//! One request, decoded as far as all routes need it.

use base64::Engine as _;
use dockerapi::AuthConfig;
use engine::{Error, Result};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Uri};
use serde::de::DeserializeOwned;

use crate::body::RequestBody;
use crate::query::{Query, unescape};
use crate::version::{self, ApiVersion};

/// One request.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// As it came.
    pub(crate) uri: Uri,
    /// The path below the version, decoded.
    pub(crate) path: String,
    pub(crate) query: Query,
    pub(crate) version: ApiVersion,
    pub(crate) headers: HeaderMap,
    pub(crate) body: RequestBody,
}

impl Call {
    /// # Errors
    /// Invalid parameter for a version out of range, or a path or query that cannot be decoded.
    pub(crate) fn decode(
        method: Method,
        uri: &Uri,
        headers: HeaderMap,
        body: RequestBody,
        oldest: ApiVersion,
    ) -> Result<Self> {
        let (text, path) = version::split(uri.path());
        let version = version::admit(text, oldest)?;
        let path = unescape(path, false)?;
        let query = Query::parse(uri.query().unwrap_or_default())?;
        Ok(Self {
            method,
            uri: uri.clone(),
            path,
            query,
            version,
            headers,
            body,
        })
    }

    /// Reads the body as exactly one JSON value.
    ///
    /// # Errors
    /// Invalid parameter with dockerd's texts.
    pub(crate) async fn json<T: DeserializeOwned>(self) -> Result<T> {
        self.check_json()?;
        let bytes = self.body.collect().await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(Error::invalid(
                "invalid JSON: got EOF while reading request body",
            ));
        }
        one_value(&bytes)
    }

    /// As [`Call::json`], where the body may be left out.
    ///
    /// # Errors
    /// As [`Call::json`].
    pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(self) -> Result<T> {
        match self.body.is_empty() {
            true => Ok(T::default()),
            false => self.json().await,
        }
    }

    fn check_json(&self) -> Result<()> {
        let Some(value) = self.headers.get(CONTENT_TYPE) else {
            return match self.body.is_empty() {
                true => Ok(()),
                false => Err(Error::invalid(
                    "malformed Content-Type header (): mime: no media type",
                )),
            };
        };
        match is_json(&self.headers) {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "unsupported Content-Type header ({}): must be 'application/json'",
                String::from_utf8_lossy(value.as_bytes())
            ))),
        }
    }

    /// `X-Registry-Auth`. What cannot be read counts as no credentials, as in dockerd.
    pub(crate) fn registry_auth(&self) -> Option<AuthConfig> {
        let value = self.headers.get("x-registry-auth")?.to_str().ok()?;
        let value = value.trim_end_matches('=');
        let url = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(value);
        let bytes = url.or_else(|_| {
            // Some clients use the other alphabet.
            base64::engine::general_purpose::STANDARD_NO_PAD.decode(value)
        });
        serde_json::from_slice(&bytes.ok()?).ok()
    }
}

/// Whether what comes with these headers is JSON. The one answer for who reads a body and who is to
/// allow it: else a body could pass by the second.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let bytes = value.as_bytes();
        let kind = bytes.split(|byte| *byte == b';').next();
        let kind = kind.unwrap_or_default().trim_ascii();
        kind.eq_ignore_ascii_case(b"application/json")
    })
}

/// Exactly one JSON value.
fn one_value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<T>();
    let value = match values.next() {
        Some(Ok(value)) => value,
        Some(Err(error)) => return Err(Error::invalid(format!("invalid JSON: {error}"))),
        None => {
            return Err(Error::invalid(
                "invalid JSON: got EOF while reading request body",
            ));
        }
    };
    match bytes[values.byte_offset()..]
        .iter()
        .all(u8::is_ascii_whitespace)
    {
        true => Ok(value),
        false => Err(Error::invalid("unexpected content after JSON")),
    }
}

#[cfg(test)]
mod tests;
