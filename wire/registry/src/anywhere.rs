//! What lies at a URL that a user names, which need be no registry: proxies, roots of trust, offline
//! mode and the limits on silence are those of registries. Texts are Go's and moby's
//! (`remotecontext.GetWithStatusError`).

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};

use crate::config::{Origin, Trust};
use crate::transport::Answer;
use crate::{Client, Error, Kind, redirect};

/// So much of the body of an error answer is told.
const TOLD: usize = 4 << 10;

/// An answer's body as a stream. It is not resumed: nothing says that it would be the same again.
#[derive(Debug)]
pub struct Opened {
    client: Client,
    answer: Answer,
    length: Option<u64>,
    asked: String,
}

impl Client {
    /// Asks for a URL of HTTP, and follows redirects; one from TLS to none is refused. Credentials in
    /// the URL are sent to its own host only.
    ///
    /// # Errors
    /// Invalid for what is no URL, and where the server says so; not found for a host that has no
    /// address too; unauthorized, denied; offline; else those of the connection.
    pub async fn open(&self, url: &str) -> Result<Opened, Error> {
        let Asked {
            uri: mut at,
            mut authorization,
            shown,
        } = parse(url)?;
        let mut origin = Origin::of(&at).map_err(|error| unsupported(&at, error))?;
        for _ in 0..redirect::MOST {
            let mut request = Request::get(at.clone());
            if let Some(value) = &authorization {
                request = request.header(header::AUTHORIZATION, value);
            }
            let request = request
                .body(Bytes::new())
                .map_err(|error| Error::new(Kind::Invalid, format!("{at}: {error}")))?;
            let answer = self.transport.send(request, &Trust::default()).await;
            let answer = answer.map_err(nobody)?;
            let Some(to) = redirect::target(&answer, &at, false)? else {
                return self.opened(shown, &at, answer).await;
            };
            let next = Origin::of(&to).map_err(|error| unsupported(&to, error))?;
            if next != origin {
                // For good, as Go does: another host could choose what they are shown to.
                authorization = None;
            }
            (at, origin) = (to, next);
        }
        Err(redirect::too_many().during("GET", &at.to_string()))
    }

    async fn opened(&self, asked: String, at: &Uri, answer: Answer) -> Result<Opened, Error> {
        let status = answer.head.status;
        let length = answer.head.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
        let mut opened = Opened {
            client: self.clone(),
            answer,
            length,
            asked,
        };
        if status.as_u16() < 400 {
            return Ok(opened);
        }
        let kind = match status {
            StatusCode::NOT_FOUND => Kind::NotFound,
            StatusCode::BAD_REQUEST => Kind::Invalid,
            StatusCode::UNAUTHORIZED => Kind::Unauthorized,
            StatusCode::FORBIDDEN => Kind::Denied,
            _ => Kind::Unavailable,
        };
        let text = format!("failed to GET {at} with status {status}");
        let text = match opened.beginning(TOLD).await {
            Ok(body) => format!("{text}: {}", String::from_utf8_lossy(&body).trim()),
            Err(_) => format!("{text}: error reading body"),
        };
        Err(Error::new(kind, text))
    }
}

impl Opened {
    /// What was asked for, with its scheme and without its password, as Go shows it.
    pub fn asked(&self) -> &str {
        &self.asked
    }

    /// Its length in bytes, where the server tells it.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next bytes; `None` when all have come.
    ///
    /// # Errors
    /// Unavailable when the connection breaks off, also before all of a known length has come;
    /// timeout when nothing comes.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let stall = self.client.config().stall;
        let chunk = self.answer.chunk(stall).await;
        chunk.map_err(|error| match error.kind {
            Kind::Timeout => {
                let text = format!("the server sent nothing for {} s", stall.as_secs_f32());
                Error::new(Kind::Timeout, text)
            }
            _ => error,
        })
    }

    async fn beginning(&mut self, limit: usize) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        while all.len() < limit {
            let Some(chunk) = self.next().await? else {
                break;
            };
            let room = limit - all.len();
            all.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        Ok(all)
    }
}

/// A URL that is asked for.
struct Asked {
    /// Without credentials.
    uri: Uri,
    /// These as a header.
    authorization: Option<HeaderValue>,
    shown: String,
}

/// What a user wrote. Without a scheme it is one of HTTP.
fn parse(text: &str) -> Result<Asked, Error> {
    // One may also be within: `h/x?from=http://y`.
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?', '#']) => (scheme, rest),
        _ => ("http", text),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, written) = rest.split_at(end);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let path = written.split('#').next().unwrap_or_default();
    let path = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    };
    let url = format!("{scheme}://{host}{}", escaped(&path));
    let wrong = |why: String| Error::new(Kind::Invalid, format!("parse {url:?}: {why}"));
    let uri: Uri = url.parse().map_err(|error| wrong(format!("{error}")))?;
    if scheme.is_empty() {
        return Err(wrong("missing protocol scheme".into()));
    }
    if host.is_empty() {
        return Err(wrong("no host in the URL".into()));
    }
    let shown = match user.and_then(|user| user.split_once(':')) {
        Some((name, _)) => format!("{scheme}://{name}:xxxxx@{host}{written}"),
        None => format!("{scheme}://{rest}"),
    };
    let authorization = user.map(|user| {
        let user = unescaped(user);
        let user = match user.contains(&b':') {
            true => user,
            false => [user.as_slice(), b":"].concat(),
        };
        let basic = base64::engine::general_purpose::STANDARD.encode(user);
        HeaderValue::from_str(&format!("Basic {basic}"))
    });
    let authorization = authorization.transpose();
    let authorization = authorization.map_err(|error| wrong(error.to_string()))?;
    Ok(Asked {
        uri,
        authorization,
        shown,
    })
}

/// What a path may not have is written with percents, as Go does.
fn escaped(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b' '
            | b'"'
            | b'<'
            | b'>'
            | b'\\'
            | b'^'
            | b'`'
            | b'{'
            | b'|'
            | b'}'
            | 0..=0x1f
            | 0x7f.. => text.push_str(&format!("%{byte:02X}")),
            _ => text.push(char::from(byte)),
        }
    }
    text
}

fn unescaped(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        let code = more.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                rest = &more[2..];
            }
            None => {
                out.push(*first);
                rest = more;
            }
        }
    }
    out
}

fn unsupported(at: &Uri, error: Error) -> Error {
    match at.scheme_str() {
        Some("http" | "https") => error,
        scheme => {
            let text = format!(
                "unsupported protocol scheme {:?}",
                scheme.unwrap_or_default()
            );
            Error::new(Kind::Unavailable, text).during("GET", &at.to_string())
        }
    }
}

/// moby tells a name without an address apart: it is not found.
fn nobody(error: Error) -> Error {
    match error.message.ends_with(": no such host") {
        true => Error {
            kind: Kind::NotFound,
            ..error
        },
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_as_people_write_them() {
        for (text, url, shown, user) in [
            ("h/x.tar", "http://h/x.tar", "http://h/x.tar", None),
            (
                "https://h:1/a b?c=ü#d",
                "https://h:1/a%20b?c=%C3%BC",
                "https://h:1/a b?c=ü#d",
                None,
            ),
            ("http://h?a", "http://h/?a", "http://h?a", None),
            ("h/x?y=z://", "http://h/x?y=z://", "http://h/x?y=z://", None),
            (
                "http://u:p%40@h/x@y:z",
                "http://h/x@y:z",
                "http://u:xxxxx@h/x@y:z",
                Some("Basic dTpwQA=="),
            ),
            (
                "http://u@[::1]:5/x",
                "http://[::1]:5/x",
                "http://u@[::1]:5/x",
                Some("Basic dTo="),
            ),
        ] {
            let asked = parse(text).expect(text);
            assert_eq!(asked.uri.to_string(), url);
            assert_eq!(asked.shown, shown);
            let value = asked.authorization.as_ref();
            assert_eq!(value.map(|it| it.to_str().expect("text")), user, "{text}");
        }
        for text in ["", "http://", "http://a b/", "http://u@/x", "://x"] {
            assert!(
                parse(text).is_err_and(|error| error.kind == Kind::Invalid),
                "{text}"
            );
        }
    }
}
