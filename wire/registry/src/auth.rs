//! Who we are to a registry: challenges, tokens, basic credentials.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, header};
use serde::{Deserialize, Serialize};

use crate::backoff::retry_after;
use crate::config::{Endpoint, Origin, is_loopback};
use crate::error::Refusal;
use crate::transport::Transport;
use crate::{Error, Kind};
use std::sync::Arc;

/// Longest answer of a token server.
const TOKEN_LIMIT: usize = 1 << 20;
/// Life of a token that names none (distribution's specification).
const DEFAULT_LIFE: u64 = 60;

/// Credentials of one call; all empty is anonymous.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Account.
    pub username: String,
    /// Its password or access token.
    pub password: String,
    /// Refresh token that a log-in gave in place of a password.
    pub identity_token: String,
    /// Bearer token to be used as it is.
    pub registry_token: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    pub(crate) fn basic(&self) -> Option<String> {
        if self.username.is_empty() && self.password.is_empty() {
            return None;
        }
        let pair = format!("{}:{}", self.username, self.password);
        Some(format!("Basic {}", STANDARD.encode(pair)))
    }
}

/// What a 401 asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: String,
        scope: String,
    },
}

impl Challenge {
    /// The best of the `WWW-Authenticate` headers: bearer before basic.
    pub(crate) fn of(headers: &http::HeaderMap) -> Option<Self> {
        let mut basic = None;
        for value in headers.get_all(header::WWW_AUTHENTICATE) {
            let Ok(text) = value.to_str() else { continue };
            let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
            if scheme.eq_ignore_ascii_case("bearer") {
                let mut found = parameters(rest);
                let mut take = |key: &str| found.remove(key).unwrap_or_default();
                return Some(Self::Bearer {
                    realm: take("realm"),
                    service: take("service"),
                    scope: take("scope"),
                });
            }
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Self::Basic);
            }
        }
        basic
    }
}

/// `key="value"` pairs by commas; values may be quoted with backslash escapes.
fn parameters(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut rest = text.trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let mut value = String::new();
        let mut end = after.len();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut escaped = false;
            for (at, c) in quoted.char_indices() {
                match c {
                    _ if escaped => {
                        value.push(c);
                        escaped = false;
                    }
                    '\\' => escaped = true,
                    '"' => {
                        end = at + 2;
                        break;
                    }
                    _ => value.push(c),
                }
            }
        } else {
            end = after.find(',').unwrap_or(after.len());
            value = after[..end].trim().to_owned();
        }
        found.insert(key.trim().to_lowercase(), value);
        rest = after
            .get(end..)
            .unwrap_or_default()
            .trim_start_matches([',', ' ']);
    }
    found
}

/// A bearer token and when it ends.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) value: String,
    ends: Instant,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

impl Token {
    pub(crate) fn is_fresh(&self) -> bool {
        Instant::now() < self.ends
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: u64,
    #[serde(default)]
    refresh_token: String,
}

/// What a token server is asked for.
#[derive(Debug)]
pub(crate) struct Want<'a> {
    pub(crate) realm: &'a str,
    pub(crate) service: &'a str,
    pub(crate) scopes: &'a [String],
    /// Ask for a refresh token as well (log-in).
    pub(crate) offline: bool,
    /// Who wants it.
    pub(crate) endpoint: &'a Endpoint,
}

/// The scopes in a challenge.
pub(crate) fn scopes(challenge: &str) -> Vec<String> {
    challenge.split_whitespace().map(str::to_owned).collect()
}

/// Why there is no token.
#[derive(Debug)]
pub(crate) enum NoToken {
    Refused(Refusal),
    Failed(Error),
}

impl From<Error> for NoToken {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Gets a token: by refresh token (OAuth2), by basic credentials, or anonymously. The second value
/// is the identity token, when one was asked for and given.
pub(crate) async fn fetch(
    transport: &Arc<Transport>,
    credentials: &Credentials,
    want: &Want<'_>,
) -> Result<(Token, String), NoToken> {
    let with_secrets = !credentials.identity_token.is_empty() || credentials.basic().is_some();
    if with_secrets && !want.endpoint.is_plain() && leaks(want.realm) {
        let text = format!(
            "token server {}: credentials are not sent without TLS",
            want.realm
        );
        return Err(Error::new(Kind::Denied, text).into());
    }
    let request = request(credentials, want)?;
    let home = want.endpoint.api.parse().ok();
    let at_home = home.and_then(|uri| Origin::of(&uri).ok()) == Origin::of(request.uri()).ok();
    let trust = match at_home {
        true => want.endpoint.trust.clone(),
        false => want.endpoint.trust.of_others(),
    };
    let answer = transport.send(request, &trust).await?;
    let (status, retry_after) = (answer.head.status, retry_after(&answer.head.headers));
    let body = answer.read(TOKEN_LIMIT, transport.config().stall).await?;
    if !status.is_success() {
        return Err(NoToken::Refused(Refusal {
            retry_after,
            ..Refusal::parse(status, &body)
        }));
    }
    let invalid = |text: String| Error::new(Kind::Unavailable, text);
    let parsed: Answer = serde_json::from_slice(&body)
        .map_err(|error| invalid(format!("token server {}: {error}", want.realm)))?;
    let value = if parsed.token.is_empty() {
        parsed.access_token
    } else {
        parsed.token
    };
    if value.is_empty() {
        return Err(
            invalid("authorization server did not include a token in the response".into()).into(),
        );
    }
    let life = parsed.expires_in.clamp(DEFAULT_LIFE, 86_400);
    // Renewed early: clocks differ and requests take time.
    let ends = Instant::now() + Duration::from_secs(life - life / 10);
    Ok((Token { value, ends }, parsed.refresh_token))
}

fn request(credentials: &Credentials, want: &Want<'_>) -> Result<Request<Bytes>, Error> {
    let invalid = |error: http::Error| {
        Error::new(
            Kind::Unavailable,
            format!("token server {:?}: {error}", want.realm),
        )
    };
    if !credentials.identity_token.is_empty() {
        let form = query(&[
            ("grant_type", "refresh_token"),
            ("service", want.service),
            ("client_id", "docker"),
            ("scope", &want.scopes.join(" ")),
            ("refresh_token", &credentials.identity_token),
        ]);
        return Request::post(want.realm)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(form))
            .map_err(invalid);
    }
    let mut pairs = vec![("service", want.service)];
    pairs.extend(want.scopes.iter().map(|scope| ("scope", scope.as_str())));
    if !credentials.username.is_empty() {
        pairs.push(("account", &credentials.username));
    }
    if want.offline {
        pairs.extend([("offline_token", "true"), ("client_id", "docker")]);
    }
    let separator = if want.realm.contains('?') { '&' } else { '?' };
    let mut request = Request::get(format!("{}{separator}{}", want.realm, query(&pairs)));
    if let Some(basic) = credentials.basic() {
        request = request.header(header::AUTHORIZATION, basic);
    }
    request.body(Bytes::new()).map_err(invalid)
}

fn leaks(realm: &str) -> bool {
    let Some(rest) = realm.strip_prefix("http://") else {
        return false;
    };
    let authority = rest.split('/').next().unwrap_or(rest);
    !is_loopback(
        authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host),
    )
}

/// Form encoding; pairs without a value are left out.
fn query(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (key, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(key);
        text.push('=');
        text.push_str(&encoded(value));
    }
    text
}

/// A value of a query.
pub(crate) fn encoded(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let mut headers = http::HeaderMap::new();
        assert_eq!(Challenge::of(&headers), None);
        headers.append("www-authenticate", "Basic realm=\"x\"".parse().unwrap());
        assert_eq!(Challenge::of(&headers), Some(Challenge::Basic));
        let bearer = r#"bearer realm="https://a/t?x=1,2",service="s \"q\"", scope="repository:x:pull,push",error=invalid"#;
        headers.append("www-authenticate", bearer.parse().unwrap());
        assert_eq!(
            Challenge::of(&headers),
            Some(Challenge::Bearer {
                realm: "https://a/t?x=1,2".into(),
                service: "s \"q\"".into(),
                scope: "repository:x:pull,push".into()
            })
        );
        for broken in ["realm", "realm=\"", "=\"\"", "a=b=c", "\"=\\"] {
            let _ = parameters(broken);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_is_too_strange(text in "(Bearer |basic)?[ -~]{0,60}", key in "[a-z]{1,9}",
            value in "[ -~]{0,30}")
        {
            let mut headers = http::HeaderMap::new();
            headers.append("www-authenticate", text.parse().unwrap());
            let _ = Challenge::of(&headers);
            // What is quoted is read back as it was.
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let found = parameters(&format!("a=b, {key}=\"{quoted}\", z=\"1\""));
            if key != "a" && key != "z" {
                proptest::prop_assert_eq!(found.get(&key), Some(&value));
            }
        }
    }

    #[test]
    fn forms() {
        assert_eq!(
            query(&[("a", "x y:z"), ("b", ""), ("c", "é")]),
            "a=x%20y%3Az&c=%C3%A9"
        );
        assert!(leaks("http://auth.lan/token"));
        assert!(!leaks("https://auth.lan/token"));
        assert!(!leaks("http://127.0.0.1:80/token"));
    }
}
