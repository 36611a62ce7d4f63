//! The client: connections and settings that all repositories share, and log-in.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use oci::Reference;

use crate::auth::{self, Challenge, Credentials, NoToken, Want, scopes};
use crate::backoff::retry_after;
use crate::config::Endpoint;
use crate::error::Refusal;
use crate::session::Repository;
use crate::transport::{Answer, Transport};
use crate::{Config, Error, Kind};

/// Longest body of an error answer.
const REFUSAL_LIMIT: usize = 64 << 10;

/// A registry client. Cheap to clone; connections are shared.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) transport: Arc<Transport>,
}

impl Client {
    /// A client with these settings. No connection is made.
    pub fn new(config: Config) -> Self {
        let transport = Transport::new(Arc::new(config));
        Self { transport }
    }

    /// Takes new settings, for what is begun from now on.
    pub fn configure(&self, config: Config) {
        self.transport.configure(config);
    }

    /// The settings of now.
    pub fn config(&self) -> Arc<Config> {
        self.transport.config()
    }

    /// A repository, to be read with these credentials. No connection is made.
    pub fn repository(&self, reference: &Reference, credentials: &Credentials) -> Repository {
        self.session(reference, credentials, "pull")
    }

    /// A repository, to be written to with these credentials. No connection is made.
    pub fn writable(&self, reference: &Reference, credentials: &Credentials) -> Repository {
        self.session(reference, credentials, "pull,push")
    }

    pub(crate) fn session(
        &self,
        reference: &Reference,
        credentials: &Credentials,
        actions: &'static str,
    ) -> Repository {
        let config = self.transport.config();
        Repository::new(self.clone(), config, reference, credentials, actions)
    }

    /// Checks credentials with a registry (`domain` as in references). Answers an identity token,
    /// which is empty when the registry gives none.
    ///
    /// # Errors
    /// Unauthorized when it refuses them; those of the connection.
    pub async fn login(&self, domain: &str, credentials: &Credentials) -> Result<String, Error> {
        let mut last = Error::new(Kind::Invalid, format!("no endpoint for {domain}"));
        let endpoints = self.config().endpoints(domain)?;
        for endpoint in endpoints.into_iter().filter(|it| !it.mirror) {
            match self.login_at(&endpoint, credentials).await {
                Err(error) if error.is_transient() => last = error,
                other => return other,
            }
        }
        Err(last)
    }

    async fn login_at(&self, at: &Endpoint, credentials: &Credentials) -> Result<String, Error> {
        let url = at.url("");
        let refused = |refusal: &Refusal| {
            let text = format!("Get \"{url}\": {}", refusal.text());
            Error::new(Kind::Unauthorized, text)
        };
        let (authorization, identity) = match self.ping(at).await? {
            None => return Ok(String::new()),
            Some(Challenge::Basic) => (credentials.basic().unwrap_or_default(), String::new()),
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => {
                let want = Want {
                    realm: &realm,
                    service: &service,
                    scopes: &scopes(&scope),
                    offline: true,
                    endpoint: at,
                };
                match auth::fetch(&self.transport, credentials, &want).await {
                    Ok((token, identity)) => (format!("Bearer {}", token.value), identity),
                    Err(NoToken::Refused(refusal)) => return Err(refused(&refusal)),
                    Err(NoToken::Failed(error)) => return Err(error),
                }
            }
        };
        let request = request(at, Method::GET, &url)
            .header(header::AUTHORIZATION, authorization)
            .body(Bytes::new())
            .map_err(|error| Error::new(Kind::Invalid, error.to_string()))?;
        let answer = self.transport.send(request, &at.trust).await?;
        let status = answer.head.status;
        if status.is_success() {
            return Ok(identity);
        }
        let kind = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Kind::Unauthorized,
            _ => Kind::Unavailable,
        };
        let text = format!("login attempt to {url} failed with status: {status}");
        Err(Error::new(kind, text))
    }

    /// Asks `/v2/` for what the endpoint wants to know of us.
    pub(crate) async fn ping(&self, endpoint: &Endpoint) -> Result<Option<Challenge>, Error> {
        let url = endpoint.url("");
        let request = request(endpoint, Method::GET, &url)
            .body(Bytes::new())
            .map_err(|error| Error::new(Kind::Invalid, format!("{url}: {error}")))?;
        let answer = self.transport.send(request, &endpoint.trust).await?;
        let challenge = Challenge::of(&answer.head.headers);
        match answer.head.status {
            // Registries need not answer here to be one.
            status if !status.is_server_error() => {
                // Read to its end, so that the connection can be used again.
                let _ = answer.read(REFUSAL_LIMIT, self.config().stall).await;
                Ok(challenge.filter(|_| status == StatusCode::UNAUTHORIZED))
            }
            _ => {
                let refusal = self.refusal(answer).await;
                let error = Error::new(Kind::Unavailable, refusal.text());
                Err(error.after(refusal.retry_after).during("GET", &url))
            }
        }
    }

    pub(crate) async fn refusal(&self, answer: Answer) -> Refusal {
        let (status, retry) = (answer.head.status, retry_after(&answer.head.headers));
        let body = answer
            .read(REFUSAL_LIMIT, self.config().stall)
            .await
            .unwrap_or_default();
        Refusal {
            retry_after: retry,
            ..Refusal::parse(status, &body)
        }
    }
}

/// A request with the headers that the endpoint wants on each.
pub(crate) fn request(at: &Endpoint, method: Method, url: &str) -> http::request::Builder {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in &at.headers {
        request = request.header(name, value);
    }
    request
}
