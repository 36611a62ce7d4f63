//! Requests over kept connections, and the version that stands before every path.

use std::sync::Mutex;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, USER_AGENT};
use http::{HeaderValue, Method, Request};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use crate::body::Body;
use crate::connect::connect;
use crate::host::Host;
use crate::response::Response;
use crate::tls::{Tls, TlsFiles};
use crate::{Error, Result};

/// Idle connections kept; more are closed.
const IDLE: usize = 4;

/// Which version of the API to speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiVersion {
    /// This one, whatever the engine says (`DOCKER_API_VERSION`).
    Fixed(String),
    /// This one; where the engine's answer says that it is too new, the engine's newest.
    /// Saves the round trip of asking first.
    Try(String),
    /// The lower of this and what the engine's `/_ping` names.
    Negotiate(String),
}

/// How to reach an engine.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where.
    pub host: Host,
    /// TLS, for TCP hosts.
    pub tls: Option<TlsFiles>,
    /// Version of the API.
    pub version: ApiVersion,
    /// Sent as `User-Agent`.
    pub user_agent: String,
    /// Sent with every request (`HttpHeaders` of the configuration).
    pub headers: Vec<(String, String)>,
}

/// A client of one engine.
#[derive(Debug)]
pub struct Client {
    config: Config,
    tls: Option<Tls>,
    version: Mutex<Version>,
    idle: Mutex<Vec<SendRequest<Body>>>,
}

#[derive(Debug, Clone)]
enum Version {
    Settled(String),
    Try(String),
    Ask(String),
}

impl Client {
    /// A client; connects with its first request.
    ///
    /// # Errors
    /// TLS material that cannot be read.
    pub fn new(config: Config) -> Result<Self> {
        let tls = config.tls.as_ref().map(Tls::load).transpose()?;
        let version = match config.version.clone() {
            ApiVersion::Fixed(version) => Version::Settled(version),
            ApiVersion::Try(version) => Version::Try(version),
            ApiVersion::Negotiate(version) => Version::Ask(version),
        };
        Ok(Self {
            config,
            tls,
            version: Mutex::new(version),
            idle: Mutex::default(),
        })
    }

    /// The host this client talks to.
    pub fn host(&self) -> &Host {
        &self.config.host
    }

    /// The version of the API in use, asking the engine where that is still open.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn api_version(&self) -> Result<String> {
        let newest = match lock(&self.version).clone() {
            Version::Settled(version) | Version::Try(version) => return Ok(version),
            Version::Ask(newest) => newest,
        };
        let response = self.send(&Method::HEAD, "/_ping", &[], Body::Empty).await?;
        let offered = response.header("api-version").map(str::to_owned);
        response.drain().await?;
        let version = match offered {
            Some(offered) if older(&offered, &newest) => offered,
            Some(_) => newest,
            // Engines before 1.24 do not say.
            None => "1.24".to_owned(),
        };
        *lock(&self.version) = Version::Settled(version.clone());
        Ok(version)
    }

    /// Sends a request; `path` starts with a slash and has no version. Answers of 400 and above
    /// are errors.
    ///
    /// # Errors
    /// No connection, a broken one, or the engine's error.
    pub async fn request(&self, method: Method, path: &str, body: Body) -> Result<Response<'_>> {
        self.request_with(method, path, &[], body).await
    }

    /// The same with additional headers.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn request_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, String)],
        body: Body,
    ) -> Result<Response<'_>> {
        let version = self.api_version().await?;
        let replay = body.replay();
        let target = format!("/v{version}{path}");
        let response = self.send(&method, &target, headers, body).await?;
        let error = match response.into_result().await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        // The engine is older than the version tried: take its newest, once.
        let Some(lower) = self.lower_version(&error) else {
            return Err(error);
        };
        let Some(body) = replay else {
            return Err(error);
        };
        let target = format!("/v{lower}{path}");
        let response = self.send(&method, &target, headers, body).await?;
        response.into_result().await
    }

    fn lower_version(&self, error: &Error) -> Option<String> {
        let mut version = lock(&self.version);
        if !matches!(&*version, Version::Try(_)) {
            return None;
        }
        let Error::Daemon {
            status: 400,
            message,
        } = error
        else {
            return None;
        };
        let (_, rest) = message.split_once("Maximum supported API version is ")?;
        let lower: String = rest
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == '.')
            .collect();
        *version = Version::Settled(lower.clone());
        Some(lower)
    }

    /// Sends a request to exactly `target`, whatever the answer's status.
    ///
    /// # Errors
    /// No connection or a broken one.
    pub async fn send(
        &self,
        method: &Method,
        target: &str,
        headers: &[(HeaderName, String)],
        body: Body,
    ) -> Result<Response<'_>> {
        let request = self.build(method, target, headers, body)?;
        let (response, connection) = self.dispatch(request).await?;
        Ok(Response::new(response, connection))
    }

    pub(crate) async fn dispatch(
        &self,
        mut request: Request<Body>,
    ) -> Result<(http::Response<Incoming>, Connection<'_>)> {
        loop {
            let idle = lock(&self.idle).pop();
            let (mut sender, reused) = match idle {
                Some(sender) if sender.is_closed() => continue,
                Some(sender) => (sender, true),
                None => (self.open().await?, false),
            };
            sender.ready().await.ok();
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let connection = Connection {
                        client: self,
                        sender,
                    };
                    return Ok((response, connection));
                }
                // An idle connection may have been closed under us: then nothing was sent.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(error.into_error().into()),
                },
            }
        }
    }

    pub(crate) fn build(
        &self,
        method: &Method,
        target: &str,
        headers: &[(HeaderName, String)],
        body: Body,
    ) -> Result<Request<Body>> {
        let invalid = |error: http::Error| Error::Http(error.to_string());
        let host = match &self.config.host {
            Host::Unix(_) => "api.moby.localhost".to_owned(),
            host => {
                let text = host.to_string();
                let authority = text.trim_start_matches("tcp://");
                authority.split('/').next().unwrap_or_default().to_owned()
            }
        };
        let mut builder = Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.config.host.base()))
            .header(HOST, host)
            .header(USER_AGENT, &self.config.user_agent);
        if let Some(kind) = body.content_type() {
            builder = builder.header(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        for (name, value) in &self.config.headers {
            builder = builder.header(name, value);
        }
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        builder.body(body).map_err(invalid)
    }

    async fn open(&self) -> Result<SendRequest<Body>> {
        let stream = connect(&self.config.host, self.tls.as_ref()).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // Its failure is seen by the request that uses it.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }
}

/// The connection an answer comes over; back in the pool when the answer was read whole.
#[derive(Debug)]
pub(crate) struct Connection<'a> {
    client: &'a Client,
    sender: SendRequest<Body>,
}

impl Connection<'_> {
    pub(crate) fn release(self) {
        if self.sender.is_closed() {
            return;
        }
        let mut idle = lock(&self.client.idle);
        if idle.len() < IDLE {
            idle.push(self.sender);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whether version `a` is older than `b`.
fn older(a: &str, b: &str) -> bool {
    let parts = |version: &str| -> (u32, u32) {
        let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
        (major.parse().unwrap_or(0), minor.parse().unwrap_or(0))
    };
    parts(a) < parts(b)
}

/// The bytes of one chunk; kept here so that the public names need no `bytes` of their own.
pub(crate) type Chunk = Bytes;
