//! The client: finds a registry's endpoint, authenticates, asks, follows redirects.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use oci::image::{Descriptor, Manifest};
use oci::{Platform, Reference};

use crate::auth::{self, Challenge, Credentials, NoToken, Token, Want};
use crate::blob::Blob;
use crate::config::{Endpoint, Origin};
use crate::error::Refusal;
use crate::manifest::{ACCEPTED, Content, Document, choose, digest};
use crate::transport::{Answer, Transport};
use crate::{Config, Error, Kind};

/// Longest manifest and index (distribution-spec asks registries to take at least this).
const MANIFEST_LIMIT: usize = 4 << 20;
/// Longest configuration of an image.
const CONFIG_LIMIT: u64 = 8 << 20;
/// Longest body of an error answer.
const REFUSAL_LIMIT: usize = 64 << 10;
/// Most tags of a repository.
const TAGS_LIMIT: usize = 100_000;
const REDIRECTS: usize = 10;
const INDEX_DEPTH: usize = 3;
/// Waits between tries of a request that failed for reasons that pass.
pub(crate) const PAUSES: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(1000),
    Duration::from_millis(3000),
];

/// A registry client. Cheap to clone; connections are shared.
#[derive(Debug, Clone)]
pub struct Client {
    config: Arc<Config>,
    transport: Arc<Transport>,
}

/// One repository for one caller's credentials. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository(Arc<Session>);

#[derive(Debug)]
struct Session {
    client: Client,
    reference: Reference,
    credentials: Credentials,
    /// What tokens are asked for.
    actions: &'static str,
    /// Endpoints left to try; the first is the one in use.
    endpoints: Mutex<Vec<Endpoint>>,
    /// By base URL of the endpoint.
    access: Mutex<HashMap<String, Access>>,
}

/// What is known of an endpoint.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    pub(crate) challenge: Option<Challenge>,
    pub(crate) token: Option<Token>,
}

/// What a reference stands for on one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What the reference itself names: the index, or the manifest where there is none.
    pub top: Document,
    /// The image's manifest, as a document.
    pub document: Document,
    /// The same, parsed.
    pub manifest: Manifest,
}

impl Client {
    /// A client with these settings. No connection is made.
    pub fn new(config: Config) -> Self {
        let config = Arc::new(config);
        let transport = Transport::new(Arc::clone(&config));
        Self { config, transport }
    }

    /// A repository, to be read with these credentials. No connection is made.
    pub fn repository(&self, reference: &Reference, credentials: &Credentials) -> Repository {
        self.session(reference, credentials, "pull")
    }

    /// A repository, to be written to with these credentials. No connection is made.
    pub fn writable(&self, reference: &Reference, credentials: &Credentials) -> Repository {
        self.session(reference, credentials, "pull,push")
    }

    fn session(
        &self,
        reference: &Reference,
        credentials: &Credentials,
        actions: &'static str,
    ) -> Repository {
        Repository(Arc::new(Session {
            actions,
            client: self.clone(),
            reference: reference.clone(),
            credentials: credentials.clone(),
            endpoints: Mutex::new(self.config.endpoints(reference.domain())),
            access: Mutex::default(),
        }))
    }

    /// Checks credentials with a registry (`domain` as in references). Answers an identity token,
    /// which is empty when the registry gives none.
    ///
    /// # Errors
    /// Unauthorized when it refuses them; those of the connection.
    pub async fn login(&self, domain: &str, credentials: &Credentials) -> Result<String, Error> {
        let mut last = Error::new(Kind::Invalid, format!("no endpoint for {domain}"));
        for endpoint in self
            .config
            .endpoints(domain)
            .into_iter()
            .filter(|e| !e.mirror)
        {
            match self.login_at(&endpoint, credentials).await {
                Err(error) if error.is_transient() => last = error,
                other => return other,
            }
        }
        Err(last)
    }

    async fn login_at(&self, at: &Endpoint, credentials: &Credentials) -> Result<String, Error> {
        let url = format!("{}/v2/", at.base);
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
                    scope: &scope,
                    offline: true,
                    plain: at.base.starts_with("http:"),
                    insecure: at.insecure,
                };
                match auth::fetch(&self.transport, &self.config, credentials, &want).await {
                    Ok((token, identity)) => (format!("Bearer {}", token.value), identity),
                    Err(NoToken::Refused(refusal)) => return Err(refused(&refusal)),
                    Err(NoToken::Failed(error)) => return Err(error),
                }
            }
        };
        let request = Request::get(&url)
            .header(header::AUTHORIZATION, authorization)
            .body(Full::default())
            .map_err(|error| Error::new(Kind::Invalid, error.to_string()))?;
        let answer = self.transport.send(request, at.insecure).await?;
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
    async fn ping(&self, endpoint: &Endpoint) -> Result<Option<Challenge>, Error> {
        let url = format!("{}/v2/", endpoint.base);
        let request = Request::get(&url)
            .body(Full::default())
            .map_err(|error| Error::new(Kind::Invalid, format!("{url}: {error}")))?;
        let answer = self.transport.send(request, endpoint.insecure).await?;
        let challenge = Challenge::of(&answer.head.headers);
        match answer.head.status {
            StatusCode::UNAUTHORIZED => Ok(challenge),
            // Registries need not answer here to be one.
            status if !status.is_server_error() => {
                // Read to its end, so that the connection can be used again.
                let _ = answer.read(REFUSAL_LIMIT, self.config.stall).await;
                Ok(None)
            }
            _ => {
                let text = self.refusal(answer).await.text();
                Err(Error::new(Kind::Unavailable, text).during("GET", &url))
            }
        }
    }

    async fn refusal(&self, answer: Answer) -> Refusal {
        let status = answer.head.status;
        let body = answer
            .read(REFUSAL_LIMIT, self.config.stall)
            .await
            .unwrap_or_default();
        Refusal::parse(status, &body)
    }
}

impl Repository {
    /// The image that the reference names, for `platform`.
    ///
    /// # Errors
    /// Not found, denied and the like, in docker's words; corrupt when a digest differs.
    pub async fn resolve(&self, platform: &Platform) -> Result<Resolved, Error> {
        let reference = &self.0.reference;
        let named = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let top = self.manifest(&named).await?;
        self.select(top, platform).await
    }

    /// The image for `platform` that a document stands for.
    ///
    /// # Errors
    /// Not found when an index has none; else as [`Repository::resolve`].
    pub async fn select(&self, top: Document, platform: &Platform) -> Result<Resolved, Error> {
        let mut document = top.clone();
        for _ in 0..INDEX_DEPTH {
            let index = match &document.content {
                Content::Manifest(manifest) => {
                    let manifest = Manifest::clone(manifest);
                    return Ok(Resolved {
                        top,
                        document,
                        manifest,
                    });
                }
                Content::Index(index) => index,
            };
            let Some(entry) = choose(index, platform) else {
                let text =
                    format!("no matching manifest for {platform} in the manifest list entries");
                return Err(Error::new(Kind::NotFound, text));
            };
            document = self.manifest(entry.digest.as_str()).await?;
        }
        Err(Error::new(
            Kind::Unsupported,
            "indexes are nested too deeply",
        ))
    }

    /// A manifest or index by tag or digest.
    ///
    /// # Errors
    /// As [`Repository::resolve`].
    pub async fn manifest(&self, named: &str) -> Result<Document, Error> {
        let path = format!("manifests/{named}");
        let answer = self.get(&path, |request| {
            request.header(header::ACCEPT, ACCEPTED.join(", "))
        });
        let answer = answer.await?;
        let header = |name: &str| {
            let value = answer
                .head
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (kind, promised) = (header("content-type"), header("docker-content-digest"));
        let bytes = answer.read(MANIFEST_LIMIT, self.stall()).await?;
        let found = digest(&bytes);
        for promised in [promised.as_str(), named] {
            if promised.starts_with("sha256:") && promised != found.as_str() {
                let text =
                    format!("manifest verification failed for digest {promised}: got {found}");
                return Err(Error::new(Kind::Corrupt, text));
            }
        }
        Document::parse(bytes, &kind)
    }

    /// All tags of the repository, in the registry's order.
    ///
    /// # Errors
    /// As [`Repository::resolve`].
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut all = Vec::new();
        let mut query = String::new();
        loop {
            let path = format!("tags/list{query}");
            let answer = self.get(&path, |request| request).await?;
            let more = next_page(&answer.head.headers);
            let bytes = answer.read(MANIFEST_LIMIT, self.stall()).await?;
            let page: Page = serde_json::from_slice(&bytes)
                .map_err(|error| Error::new(Kind::Corrupt, format!("list of tags: {error}")))?;
            let tags = page.tags.unwrap_or_default();
            // A page without tags that leads to another would never end.
            let empty = tags.is_empty();
            all.extend(tags);
            if all.len() > TAGS_LIMIT {
                let text = format!("more than {TAGS_LIMIT} tags");
                return Err(Error::new(Kind::Unsupported, text));
            }
            match more {
                Some(next) if !empty => query = next,
                _ => return Ok(all),
            }
        }
    }

    /// The configuration of an image, verified.
    ///
    /// # Errors
    /// As [`Repository::resolve`]; corrupt when size or digest differ.
    pub async fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        if descriptor.size > CONFIG_LIMIT {
            let text = format!(
                "image configuration of {} bytes, {CONFIG_LIMIT} are allowed",
                descriptor.size
            );
            return Err(Error::new(Kind::Corrupt, text));
        }
        let mut blob = self.blob(descriptor);
        let mut bytes = Vec::new();
        while let Some(chunk) = blob.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        let found = digest(&bytes);
        if found != descriptor.digest {
            let text = format!(
                "image config verification failed for digest {}: got {found}",
                descriptor.digest
            );
            return Err(Error::new(Kind::Corrupt, text));
        }
        Ok(bytes)
    }

    /// A blob as a stream. Nothing is asked before its first `next`. The bytes are not verified:
    /// that is for whoever takes them, in the same pass.
    pub fn blob(&self, descriptor: &Descriptor) -> Blob {
        Blob::new(
            self.clone(),
            descriptor.clone(),
            self.0.client.config.attempts,
        )
    }

    pub(crate) fn stall(&self) -> Duration {
        self.0.client.config.stall
    }

    /// Opens a blob from an offset.
    pub(crate) async fn open_blob(&self, of: &Descriptor, offset: u64) -> Result<Answer, Error> {
        self.get(&format!("blobs/{}", of.digest), |request| {
            if offset == 0 {
                request
            } else {
                request.header(header::RANGE, format!("bytes={offset}-"))
            }
        })
        .await
    }

    /// A GET below the repository: endpoint by endpoint, again after passing failures.
    pub(crate) async fn get(
        &self,
        path: &str,
        prepare: impl Fn(http::request::Builder) -> http::request::Builder,
    ) -> Result<Answer, Error> {
        let mut last = Error::new(Kind::Invalid, "no endpoint to ask");
        loop {
            let Some(endpoint) = self.endpoint() else {
                return Err(last);
            };
            let mut pauses = PAUSES.iter();
            let failure = loop {
                match self.get_at(&endpoint, path, &prepare).await {
                    Ok(answer) => return Ok(answer),
                    Err(Failure { error, retry: true }) => match pauses.next() {
                        Some(pause) => tokio::time::sleep(*pause).await,
                        None => break error,
                    },
                    Err(Failure { error, .. }) => break error,
                }
            };
            // A mirror may fail in any way; the registry itself only by not being reached at all.
            let reached = self.access(&endpoint).is_some();
            if !endpoint.mirror && reached {
                return Err(failure);
            }
            last = failure;
            self.give_up(&endpoint);
        }
    }

    async fn get_at(
        &self,
        endpoint: &Endpoint,
        path: &str,
        prepare: &impl Fn(http::request::Builder) -> http::request::Builder,
    ) -> Result<Answer, Failure> {
        let session = &self.0;
        if self.access(endpoint).is_none() {
            let challenge = session.client.ping(endpoint).await?;
            self.set_access(
                endpoint,
                Access {
                    challenge,
                    token: None,
                },
            );
        }
        let url = format!("{}/v2/{}/{path}", endpoint.base, session.reference.path());
        for again in [true, false] {
            let mut request = prepare(Request::get(&url));
            if let Some(authorization) = self.authorization(endpoint).await? {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let request = request
                .body(Full::default())
                .map_err(|error| Error::new(Kind::Invalid, format!("{url}: {error}")))?;
            let answer = self.follow(endpoint, request).await?;
            let status = answer.head.status;
            if status.is_success() {
                return Ok(answer);
            }
            let challenge = Challenge::of(&answer.head.headers);
            let pause = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
            let refusal = session.client.refusal(answer).await;
            if again && status == StatusCode::UNAUTHORIZED && challenge.is_some() {
                // The token ended early, or this path wants another one than `/v2/` did.
                self.set_access(
                    endpoint,
                    Access {
                        challenge,
                        token: None,
                    },
                );
                continue;
            }
            return Err(Failure {
                error: self.refused(&refusal),
                retry: pause,
            });
        }
        Err(Error::new(Kind::Unauthorized, "unauthorized: authentication required").into())
    }

    /// Sends a request and follows redirects; our credentials stay with the first host.
    async fn follow(
        &self,
        endpoint: &Endpoint,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Error> {
        let mut request = request;
        for _ in 0..REDIRECTS {
            let from = request.uri().clone();
            let mut next = request.clone();
            let answer = self
                .0
                .client
                .transport
                .send(request, endpoint.insecure)
                .await?;
            let location = answer.head.headers.get(header::LOCATION);
            let location = match (answer.head.status.as_u16(), location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => location,
                _ => return Ok(answer),
            };
            let to = location.to_str().ok().and_then(|text| join(&from, text));
            let Some(to) = to else {
                let text = format!("{from}: invalid redirect {location:?}");
                return Err(Error::new(Kind::Unavailable, text));
            };
            let (old, new) = (Origin::of(&from)?, Origin::of(&to)?);
            if old.tls && !new.tls && !endpoint.insecure {
                let text = format!("{from}: redirected to {to}, which is not protected by TLS");
                return Err(Error::new(Kind::Denied, text));
            }
            if old != new {
                next.headers_mut().remove(header::AUTHORIZATION);
            }
            *next.uri_mut() = to;
            request = next;
        }
        Err(Error::new(
            Kind::Unavailable,
            format!("stopped after {REDIRECTS} redirects"),
        ))
    }

    pub(crate) async fn authorization(&self, endpoint: &Endpoint) -> Result<Option<String>, Error> {
        let session = &self.0;
        // What is meant for Docker Hub is not for its mirrors.
        let anonymous = Credentials::default();
        let credentials = if endpoint.mirror {
            &anonymous
        } else {
            &session.credentials
        };
        if !credentials.registry_token.is_empty() {
            return Ok(Some(format!("Bearer {}", credentials.registry_token)));
        }
        let access = self.access(endpoint).unwrap_or_default();
        let (realm, service, scope) = match &access.challenge {
            None => return Ok(None),
            Some(Challenge::Basic) => return Ok(credentials.basic()),
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => (realm, service, scope),
        };
        if let Some(token) = access.token.filter(Token::is_fresh) {
            return Ok(Some(format!("Bearer {}", token.value)));
        }
        let ours = format!(
            "repository:{}:{}",
            session.reference.path(),
            session.actions
        );
        let want = Want {
            realm,
            service,
            scope: if scope.is_empty() { &ours } else { scope },
            offline: false,
            plain: endpoint.base.starts_with("http:"),
            insecure: endpoint.insecure,
        };
        let client = &session.client;
        match auth::fetch(&client.transport, &client.config, credentials, &want).await {
            Ok((token, _)) => {
                let value = format!("Bearer {}", token.value);
                let challenge = access.challenge.clone();
                self.set_access(
                    endpoint,
                    Access {
                        challenge,
                        token: Some(token),
                    },
                );
                Ok(Some(value))
            }
            Err(NoToken::Refused(refusal)) => Err(self.refused(&refusal)),
            Err(NoToken::Failed(error)) => Err(error),
        }
    }

    /// The registry's own endpoint that answers; mirrors are left out.
    pub(crate) async fn own_endpoint(&self) -> Result<Endpoint, Error> {
        let mut last = Error::new(Kind::Invalid, "no endpoint to ask");
        while let Some(endpoint) = self.endpoint() {
            if !endpoint.mirror {
                if self.access(&endpoint).is_some() {
                    return Ok(endpoint);
                }
                match self.0.client.ping(&endpoint).await {
                    Ok(challenge) => {
                        let token = None;
                        self.set_access(&endpoint, Access { challenge, token });
                        return Ok(endpoint);
                    }
                    Err(error) => last = error,
                }
            }
            self.give_up(&endpoint);
        }
        Err(last)
    }

    /// Path of the repository in its registry.
    pub(crate) fn path(&self) -> &str {
        self.0.reference.path()
    }

    /// One request as it is, without following redirects.
    pub(crate) async fn exchange(
        &self,
        endpoint: &Endpoint,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Error> {
        let transport = &self.0.client.transport;
        transport.send(request, endpoint.insecure).await
    }

    /// What an answer that is no success says.
    pub(crate) async fn refusal(&self, answer: Answer) -> Refusal {
        self.0.client.refusal(answer).await
    }

    fn refused(&self, refusal: &Refusal) -> Error {
        let reference = &self.0.reference;
        refusal.of_pull(
            &reference.familiar_name(),
            &reference.clone().or_latest().familiar(),
        )
    }

    fn endpoint(&self) -> Option<Endpoint> {
        let endpoints = self
            .0
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        endpoints.first().cloned()
    }

    fn give_up(&self, endpoint: &Endpoint) {
        let mut endpoints = self
            .0
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        endpoints.retain(|other| other != endpoint);
    }

    fn access(&self, endpoint: &Endpoint) -> Option<Access> {
        let access = self.0.access.lock().unwrap_or_else(PoisonError::into_inner);
        access.get(&endpoint.base).cloned()
    }

    pub(crate) fn set_access(&self, endpoint: &Endpoint, new: Access) {
        let mut access = self.0.access.lock().unwrap_or_else(PoisonError::into_inner);
        access.insert(endpoint.base.clone(), new);
    }
}

/// The query of the next page of a list, by its `Link` header (RFC 5988).
fn next_page(headers: &http::HeaderMap) -> Option<String> {
    let text = headers.get(header::LINK)?.to_str().ok()?;
    let (target, parameters) = text.strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.contains("rel=\"next\"") || parameters.contains("rel=next");
    let (_, query) = target.split_once('?').filter(|_| is_next)?;
    Some(format!("?{query}"))
}

/// A failed try.
struct Failure {
    error: Error,
    /// It may pass.
    retry: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            retry: false,
        }
    }
}

/// A redirect's target, seen from `base`.
pub(crate) fn join(base: &http::Uri, location: &str) -> Option<http::Uri> {
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
