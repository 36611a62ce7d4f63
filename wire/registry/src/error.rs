//! The error of this crate's edge, and how registries word theirs.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The registry has no such thing.
    NotFound,
    /// It may be there, but not for these credentials.
    Denied,
    /// The credentials are wrong, or some are needed.
    Unauthorized,
    /// Too many requests.
    RateLimited,
    /// The registry cannot be reached or fails.
    Unavailable,
    /// It stopped answering.
    Timeout,
    /// What came is not what was promised.
    Corrupt,
    /// Valid, but not something this client does.
    Unsupported,
    /// The caller's input or configuration is at fault.
    Invalid,
    /// The client was told to ask nobody.
    Offline,
}

/// A failure with a text for users; where docker has a text, it is docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind.
    pub kind: Kind,
    /// For users.
    pub message: String,
    /// The registry said when to ask again.
    pub retry_after: Option<Duration>,
    /// The registry was reached and cannot do it now.
    pub(crate) busy: bool,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            busy: false,
        }
    }

    pub(crate) fn after(self, retry_after: Option<Duration>) -> Self {
        Self {
            retry_after,
            ..self
        }
    }

    /// Puts the request in front, as Go's client words it.
    pub(crate) fn during(self, method: &str, url: &str) -> Self {
        let mut verb = method.to_lowercase();
        if let Some(first) = verb.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self {
            message: format!("{verb} \"{url}\": {}", self.message),
            ..self
        }
    }

    /// Whether the same request may go through later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            Kind::Unavailable | Kind::Timeout | Kind::RateLimited
        )
    }
}

/// An error answer: its status and the first of the errors in its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// `MANIFEST_UNKNOWN`, …; empty when the body is not the specification's.
    pub(crate) code: String,
    pub(crate) message: String,
    /// When to ask again.
    pub(crate) retry_after: Option<Duration>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    errors: Vec<One>,
    #[serde(default)]
    details: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct One {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Refusal {
    /// Reads the body of an error answer.
    pub(crate) fn parse(status: StatusCode, body: &[u8]) -> Self {
        let (mut code, mut message) = (String::new(), String::new());
        if let Ok(body) = serde_json::from_slice::<Body>(body) {
            message = if body.details.is_empty() {
                body.message
            } else {
                body.details
            };
            if let Some(first) = body.errors.into_iter().next() {
                code = first.code;
                message = first.message;
            }
        }
        Self {
            status,
            code,
            message,
            retry_after: None,
        }
    }

    /// Go's `errcode.Error`: `manifest unknown: manifest unknown`.
    pub(crate) fn text(&self) -> String {
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") if self.status == StatusCode::UNAUTHORIZED => {
                "unauthorized: authentication required".into()
            }
            ("", "") => format!("received unexpected HTTP status: {}", self.status),
            ("", message) if self.status == StatusCode::UNAUTHORIZED => {
                format!("unauthorized: {message}")
            }
            ("", message) => format!("{}: {message}", self.status),
            (code, message) => format!("{}: {message}", code.to_lowercase().replace('_', " ")),
        }
    }

    /// The error of a pull of `name` (familiar, with tag or digest) from `repository` (familiar).
    pub(crate) fn of_pull(&self, repository: &str, name: &str) -> Error {
        let text = self.text();
        let denied = || {
            let text = format!(
                "pull access denied for {repository}, repository does not exist or may require \
                 'docker login': {text}"
            );
            Error::new(Kind::Denied, text)
        };
        let error = match self.code.as_str() {
            "DENIED" | "UNAUTHORIZED" => denied(),
            "MANIFEST_UNKNOWN" => Error::new(
                Kind::NotFound,
                format!("manifest for {name} not found: {text}"),
            ),
            "NAME_UNKNOWN" => Error::new(
                Kind::NotFound,
                format!("repository {repository} not found: {text}"),
            ),
            "TOOMANYREQUESTS" => Error::new(Kind::RateLimited, text),
            _ => match self.status.as_u16() {
                401 | 403 => denied(),
                404 => Error::new(
                    Kind::NotFound,
                    format!("manifest for {name} not found: {text}"),
                ),
                429 => Error::new(Kind::RateLimited, format!("toomanyrequests: {text}")),
                408 | 500.. => Error::new(Kind::Unavailable, text),
                _ => Error::new(Kind::Invalid, text),
            },
        };
        self.timed(error)
    }

    /// An error answer of a kind that passes says when.
    fn timed(&self, error: Error) -> Error {
        Error {
            busy: error.is_transient(),
            retry_after: self.retry_after,
            ..error
        }
    }

    /// The error of a push, in the registry's words as dockerd tells them.
    pub(crate) fn of_push(&self) -> Error {
        let kind = match (self.code.as_str(), self.status.as_u16()) {
            ("DENIED", _) | (_, 403) => Kind::Denied,
            ("UNAUTHORIZED", _) | (_, 401) => Kind::Unauthorized,
            ("TOOMANYREQUESTS", _) | (_, 429) => Kind::RateLimited,
            (_, 404) => Kind::NotFound,
            // 416: the registry has another part of an upload than we think.
            (_, 408 | 416 | 500..) => Kind::Unavailable,
            _ => Kind::Invalid,
        };
        self.timed(Error::new(kind, self.text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_texts() {
        let body =
            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#;
        let error = Refusal::parse(StatusCode::NOT_FOUND, body).of_pull("x", "x:y");
        assert_eq!(
            error.to_string(),
            "manifest for x:y not found: manifest unknown: manifest unknown"
        );
        let body = br#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#;
        let error = Refusal::parse(StatusCode::UNAUTHORIZED, body).of_pull("x", "x:y");
        assert_eq!(
            error.to_string(),
            "pull access denied for x, repository does not exist or may require 'docker login': \
             denied: requested access to the resource is denied"
        );
        assert_eq!(error.kind, Kind::Denied);
        let error = Refusal::parse(StatusCode::BAD_GATEWAY, b"<html>").of_pull("x", "x:y");
        assert_eq!(error.kind, Kind::Unavailable);
        assert_eq!(
            error.during("GET", "http://h/v2/").to_string(),
            "Get \"http://h/v2/\": received unexpected HTTP status: 502 Bad Gateway"
        );
    }
}
