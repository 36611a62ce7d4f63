//! HTTP/1.1 over TCP, TLS and proxies, with kept connections. Errors are worded as Go's client
//! words them, since users know and scripts match those.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::auth::Challenge;
use crate::config::{Endpoint, Origin, Trust};
use crate::paced::Paced;
use crate::tls::Sources;
use crate::{Config, Error, Kind};

/// Connections kept for each origin.
const KEPT: usize = 4;
/// Longest answer head of a proxy.
const PROXY_HEAD: usize = 8 << 10;
/// TLS settings remembered; they are forgotten when files change.
const SETTINGS: usize = 64;
/// Endpoints whose challenges are remembered.
const CHALLENGES: usize = 64;

type Sender = SendRequest<Paced>;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Who a connection is to: another trust is another connection.
type Peer = (Origin, Trust);

#[derive(Debug)]
pub(crate) struct Transport {
    config: RwLock<Arc<Config>>,
    kept: Mutex<HashMap<Peer, Vec<Sender>>>,
    /// What endpoints wanted to know of callers, by root of their API.
    challenges: Mutex<HashMap<String, Option<Challenge>>>,
    tls: Mutex<HashMap<Sources, Arc<rustls::ClientConfig>>>,
}

/// An answer; its connection is kept for later once the body has been read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: http::response::Parts,
    body: Incoming,
    home: Option<(Arc<Transport>, Peer, Sender)>,
}

impl Transport {
    pub(crate) fn new(config: Arc<Config>) -> Arc<Self> {
        Arc::new(Self {
            config: RwLock::new(config),
            kept: Mutex::default(),
            challenges: Mutex::default(),
            tls: Mutex::default(),
        })
    }

    /// The settings of now.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes new settings. Connections that are kept were made under the old ones and are let go.
    pub(crate) fn configure(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// What an endpoint wants to know of callers, when it said so before and a connection to it is
    /// still open: then it is the same server, and need not be found and asked anew.
    pub(crate) fn challenge(&self, endpoint: &Endpoint) -> Option<Option<Challenge>> {
        let origin = Origin::of(&endpoint.api.parse().ok()?).ok()?;
        let peer = (origin, endpoint.trust.clone());
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |senders: &Vec<Sender>| senders.iter().any(Sender::is_ready);
        if !kept.get(&peer).is_some_and(open) {
            return None;
        }
        drop(kept);
        let known = self
            .challenges
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.get(&endpoint.api).cloned()
    }

    /// Remembers what an endpoint wants to know of callers.
    pub(crate) fn challenged(&self, endpoint: &Endpoint, challenge: Option<Challenge>) {
        let mut known = self
            .challenges
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CHALLENGES {
            known.clear();
        }
        known.insert(endpoint.api.clone(), challenge);
    }

    /// Sends one request. Errors say what was asked.
    pub(crate) async fn send(
        self: &Arc<Self>,
        request: Request<Bytes>,
        trust: &Trust,
    ) -> Result<Answer, Error> {
        let (method, url) = (request.method().to_string(), request.uri().to_string());
        self.send_inner(request, trust)
            .await
            .map_err(|error| error.during(&method, &url))
    }

    async fn send_inner(
        self: &Arc<Self>,
        mut request: Request<Bytes>,
        trust: &Trust,
    ) -> Result<Answer, Error> {
        let config = self.config();
        let origin = Origin::of(request.uri())?;
        if config.offline {
            let text = format!("offline mode: {} is not asked", origin.authority());
            return Err(Error::new(Kind::Offline, text));
        }
        let invalid = |error: &dyn std::fmt::Display| Error::new(Kind::Invalid, error.to_string());
        let host = HeaderValue::from_str(&origin.authority()).map_err(|e| invalid(&e))?;
        let agent = HeaderValue::from_str(&config.user_agent).map_err(|e| invalid(&e))?;
        request.headers_mut().insert(header::HOST, host);
        request.headers_mut().insert(header::USER_AGENT, agent);
        let proxied = config.proxy.of(&origin).is_some() && !origin.tls;
        if !proxied {
            let path = request
                .uri()
                .path_and_query()
                .map_or("/", |path| path.as_str());
            *request.uri_mut() = path.parse::<Uri>().map_err(|e| invalid(&e))?;
        }
        // A kept connection may have been closed by the other side meanwhile.
        let peer = (origin, trust.clone());
        let patience = config.patience;
        while let Some(mut sender) = self.take(&peer) {
            if let Ok(response) = head(&mut sender, request.clone(), patience).await? {
                return Ok(self.answer(response, peer, sender));
            }
        }
        let origin = &peer.0;
        let connecting = self.connect(&config, origin, trust);
        let mut sender = tokio::time::timeout(trust.dial.unwrap_or(patience), connecting)
            .await
            .map_err(|_| {
                let text = format!("dial tcp {}:{}: i/o timeout", origin.host, origin.port);
                Error::new(Kind::Timeout, text)
            })??;
        let response = head(&mut sender, request, patience)
            .await?
            .map_err(|error| Error::new(Kind::Unavailable, reason(&error)))?;
        Ok(self.answer(response, peer, sender))
    }

    fn answer(self: &Arc<Self>, response: Response<Incoming>, at: Peer, by: Sender) -> Answer {
        let (head, body) = response.into_parts();
        let home = Some((Arc::clone(self), at, by));
        Answer { head, body, home }
    }

    fn take(&self, peer: &Peer) -> Option<Sender> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = kept.get_mut(peer)?;
        while let Some(sender) = senders.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn keep(&self, peer: Peer, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Also of those who are not asked again: registries send us to ever other hosts.
        kept.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
        let senders = kept.entry(peer).or_default();
        if senders.len() < KEPT {
            senders.push(sender);
        }
    }

    async fn connect(
        &self,
        config: &Config,
        origin: &Origin,
        trust: &Trust,
    ) -> Result<Sender, Error> {
        let proxy = config.proxy.of(origin);
        let stream: Box<dyn Stream> = match proxy {
            None => Box::new(dial(&origin.host, origin.port).await?),
            Some(url) => through(url, origin).await?,
        };
        let stream = if origin.tls {
            self.encrypt(config, stream, origin, trust).await?
        } else {
            stream
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Error::new(Kind::Unavailable, reason(&error)))?;
        // Ends with the last of sender and body; its errors reach whoever waits for an answer.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn encrypt(
        &self,
        config: &Config,
        stream: Box<dyn Stream>,
        origin: &Origin,
        trust: &Trust,
    ) -> Result<Box<dyn Stream>, Error> {
        let interrupted = |_| Error::new(Kind::Unavailable, "interrupted");
        let (trust, dirs) = (trust.clone(), config.hosts_dirs.clone());
        let authority = origin.authority();
        let gathering = move || Sources::gather(&trust, &dirs, &authority);
        let sources = tokio::task::spawn_blocking(gathering)
            .await
            .map_err(interrupted)?;
        let known = self
            .tls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&sources)
            .cloned();
        let config = match known {
            Some(config) => config,
            None => {
                let of = sources.clone();
                let made = tokio::task::spawn_blocking(move || of.settings())
                    .await
                    .map_err(interrupted)??;
                let mut cache = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
                if cache.len() >= SETTINGS {
                    cache.clear();
                }
                cache.insert(sources, Arc::clone(&made));
                made
            }
        };
        let name = rustls_pki_types::ServerName::try_from(origin.host.clone())
            .map_err(|error| Error::new(Kind::Invalid, format!("{}: {error}", origin.host)))?;
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|error| Error::new(Kind::Unavailable, tls_reason(&error)))?;
        Ok(Box::new(stream))
    }
}

/// Sends a request and waits for the head of its answer: so long after the last of the request went.
async fn head(
    to: &mut Sender,
    request: Request<Bytes>,
    patience: Duration,
) -> Result<hyper::Result<Response<Incoming>>, Error> {
    let (head, body) = request.into_parts();
    let (body, progress) = Paced::new(body);
    let answer = to.send_request(Request::from_parts(head, body));
    let answer = progress.within(patience, answer).await;
    answer.ok_or_else(|| {
        let text = format!(
            "net/http: timeout awaiting response headers ({} s)",
            patience.as_secs()
        );
        Error::new(Kind::Timeout, text)
    })
}

/// Connects to an HTTP proxy; for TLS asks it for a tunnel.
async fn through(url: &str, origin: &Origin) -> Result<Box<dyn Stream>, Error> {
    let failed = |text: String| Error::new(Kind::Unavailable, format!("proxyconnect tcp: {text}"));
    let with_scheme = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let uri: Uri = with_scheme
        .parse()
        .map_err(|error| Error::new(Kind::Invalid, format!("proxy {url:?}: {error}")))?;
    let proxy = Origin::of(&uri)?;
    if proxy.tls {
        let text = format!("proxy {url:?}: proxies over TLS are not supported, use http://");
        return Err(Error::new(Kind::Unsupported, text));
    }
    let mut stream = dial(&proxy.host, proxy.port)
        .await
        .map_err(|e| failed(e.message))?;
    if !origin.tls {
        return Ok(Box::new(stream));
    }
    let target = format!("{}:{}", origin.host, origin.port);
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some((user, _)) = uri.authority().and_then(|it| it.as_str().rsplit_once('@')) {
        let basic = base64::engine::general_purpose::STANDARD.encode(user);
        head.push_str(&format!("Proxy-Authorization: Basic {basic}\r\n"));
    }
    head.push_str("\r\n");
    stream
        .write_all(head.as_bytes())
        .await
        .map_err(|e| failed(e.to_string()))?;
    let mut answer = Vec::new();
    // Byte by byte: nothing behind the head may be taken from the tunnel.
    while !answer.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await.map_err(|e| failed(e.to_string()))?;
        answer.push(byte);
        if answer.len() > PROXY_HEAD {
            return Err(failed("the proxy's answer is too long".into()));
        }
    }
    let line = String::from_utf8_lossy(&answer);
    let line = line.lines().next().unwrap_or_default();
    if line.split(' ').nth(1) != Some("200") {
        return Err(failed(format!("the proxy answered {line:?}")));
    }
    Ok(Box::new(stream))
}

impl Answer {
    /// The next piece of the body; `None` at its end. `stall` without a byte is an error.
    pub(crate) async fn chunk(&mut self, stall: Duration) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = tokio::time::timeout(stall, self.body.frame())
                .await
                .map_err(|_| {
                    self.home = None;
                    let text = format!("the registry sent nothing for {} s", stall.as_secs_f32());
                    Error::new(Kind::Timeout, text)
                })?;
            match frame {
                None => {
                    if let Some((transport, origin, sender)) = self.home.take() {
                        transport.keep(origin, sender);
                    }
                    return Ok(None);
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => {
                    self.home = None;
                    return Err(Error::new(Kind::Unavailable, reason(&error)));
                }
            }
        }
    }

    /// The whole body, of at most `limit` bytes.
    pub(crate) async fn read(mut self, limit: usize, stall: Duration) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk(stall).await? {
            if all.len() + chunk.len() > limit {
                let text = format!("the answer is longer than {limit} bytes");
                return Err(Error::new(Kind::Corrupt, text));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, Error> {
    let lookup = tokio::net::lookup_host((host, port)).await.map_err(|_| {
        let text = format!("dial tcp: lookup {host}: no such host");
        Error::new(Kind::Unavailable, text)
    })?;
    let mut last = format!("dial tcp: lookup {host}: no such host");
    for address in lookup {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Requests are small and written at once.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = format!("dial tcp {address}: connect: {}", errno_text(&error)),
        }
    }
    Err(Error::new(Kind::Unavailable, last))
}

/// Go's words: lower case, no number.
fn errno_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.to_lowercase()
}

fn tls_reason(error: &io::Error) -> String {
    use rustls::CertificateError as Bad;
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        Some(rustls::Error::InvalidMessage(_)) => {
            "http: server gave HTTP response to HTTPS client".into()
        }
        Some(rustls::Error::InvalidCertificate(Bad::UnknownIssuer)) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
                .into()
        }
        Some(rustls::Error::InvalidCertificate(bad)) => {
            format!("tls: failed to verify certificate: x509: {bad}")
        }
        Some(other) => format!("tls: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "EOF".into(),
        None => errno_text(error),
    }
}

/// The innermost reason of a hyper error; its outer ones say little.
fn reason(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "unexpected EOF".into();
    }
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    match inner.downcast_ref::<io::Error>() {
        Some(error) if error.kind() == io::ErrorKind::UnexpectedEof => "unexpected EOF".into(),
        Some(error) => errno_text(error),
        None => inner.to_string(),
    }
}
