//! A registry that misbehaves on order: HTTP/1.1 by hand, so that it can stop, reset and lie at any
//! byte. Without orders it serves its content, ranges included. The engine's tests use it too.

#![allow(dead_code, reason = "each of the tests that share it needs a part")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// What a client that tries TLS begins with.
const TLS: [u8; 1] = [0x16];

/// One request as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// Method, a space and the target.
    pub(crate) line: String,
    /// By lower-case name.
    pub(crate) headers: HashMap<String, String>,
    /// With a `Content-Length`.
    pub(crate) body: String,
    /// So many requests with this line came before.
    pub(crate) nth: usize,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Where a wanted range begins, and where it ends if it does.
    pub(crate) fn range(&self) -> Option<(usize, Option<usize>)> {
        let range = self.header("range").strip_prefix("bytes=")?;
        let (start, last) = range.split_once('-')?;
        let end = last.parse::<usize>().ok().map(|last| last + 1);
        Some((start.parse().ok()?, end))
    }
}

/// What happens while a body is sent.
#[derive(Debug, Clone, Default)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Nothing more is sent after so many bytes, until the client goes.
    Stall(usize),
    /// The connection is reset after so many bytes.
    Reset(usize),
    /// The rest is sent once there is a permit.
    Gate(usize, Arc<Semaphore>),
    /// In pieces of so many bytes, with a pause between them.
    Drip(usize, Duration),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) fault: Fault,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

type Orders = dyn Fn(&Request, Reply) -> Reply + Send + Sync;

struct Shared {
    content: Mutex<HashMap<String, Reply>>,
    orders: Mutex<Arc<Orders>>,
    seen: watch::Sender<Vec<Request>>,
}

/// Ends with its last clone's task: the runtime of the test.
#[derive(Clone)]
pub(crate) struct Registry {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("listen"))
    }

    /// The same, listening where somebody else chose.
    pub(crate) fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("address");
        let shared = Arc::new(Shared {
            content: Mutex::default(),
            orders: Mutex::new(Arc::new(|_, reply| reply)),
            seen: watch::channel(Vec::new()).0,
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        let registry = Self { address, shared };
        registry.put("/v2/", "application/json", b"{}".to_vec());
        registry
    }

    /// From now on every reply goes through `orders`.
    pub(crate) fn order(&self, orders: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) {
        *lock(&self.shared.orders) = Arc::new(orders);
    }

    pub(crate) fn put(&self, path: &str, kind: &str, body: Vec<u8>) {
        let reply = Reply::new(200, body).with("Content-Type", kind);
        lock(&self.shared.content).insert(path.to_owned(), reply);
    }

    /// Adds a blob to a repository; answers its digest.
    pub(crate) fn blob(&self, repository: &str, body: &[u8]) -> String {
        let digest = digest(body);
        let path = format!("/v2/{repository}/blobs/{digest}");
        self.put(&path, "application/octet-stream", body.to_vec());
        digest
    }

    /// Adds a manifest under a tag and its digest, which is answered.
    pub(crate) fn manifest(&self, repository: &str, tag: &str, body: &serde_json::Value) -> String {
        let kind = body["mediaType"].as_str().expect("mediaType").to_owned();
        let bytes = serde_json::to_vec(body).expect("manifest");
        let digest = digest(&bytes);
        for name in [tag, &digest] {
            self.put(
                &format!("/v2/{repository}/manifests/{name}"),
                &kind,
                bytes.clone(),
            );
        }
        digest
    }

    /// Requests so far whose line contains `part`.
    pub(crate) fn seen(&self, part: &str) -> Vec<Request> {
        let all = self.shared.seen.borrow();
        all.iter()
            .filter(|request| request.line.contains(part))
            .cloned()
            .collect()
    }

    /// Waits for a request whose line contains `part`.
    pub(crate) async fn wait_for(&self, part: &str) {
        let mut seen = self.shared.seen.subscribe();
        let found = seen.wait_for(|all| all.iter().any(|request| request.line.contains(part)));
        found.await.expect("requests");
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = sha2::Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut unread = Vec::new();
    while let Some(mut request) = read(&mut stream, &mut unread).await {
        request.nth = shared
            .seen
            .borrow()
            .iter()
            .filter(|other| other.line == request.line)
            .count();
        shared.seen.send_modify(|seen| seen.push(request.clone()));
        let target = request.line.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let found = lock(&shared.content).get(path).cloned();
        let unknown = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        let mut reply = found.unwrap_or_else(|| Reply::new(404, unknown.to_vec()));
        if let (Some((start, end)), 200) = (request.range(), reply.status) {
            let whole = reply.body.len();
            let end = end.unwrap_or(whole).min(whole);
            let range = format!("bytes {start}-{}/{whole}", end.saturating_sub(1));
            reply = Reply {
                status: 206,
                ..reply
            }
            .with("Content-Range", range);
            reply.body.truncate(end);
            reply.body.drain(..start.min(end));
        }
        let orders = Arc::clone(&lock(&shared.orders));
        let reply = orders(&request, reply);
        if answer(&mut stream, reply).await.is_none() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(unread).await.ok()? == 0 || unread.starts_with(&TLS) {
            return None;
        }
    };
    let head = String::from_utf8(unread.drain(..end).collect()).ok()?;
    let mut lines = head.lines();
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .map_or(Some(0), |it| it.parse().ok())?;
    while unread.len() < length {
        stream
            .read_buf(unread)
            .await
            .ok()
            .filter(|read| *read > 0)?;
    }
    let body = String::from_utf8(unread.drain(..length).collect()).ok()?;
    Some(Request {
        line,
        headers,
        body,
        nth: 0,
    })
}

/// `None` when the connection is over.
async fn answer(stream: &mut TcpStream, reply: Reply) -> Option<()> {
    let mut head = format!("HTTP/1.1 {} Status\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !reply
        .headers
        .iter()
        .any(|(name, _)| name == "Content-Length")
    {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    let body = &reply.body;
    match reply.fault {
        Fault::None => stream.write_all(body).await.ok(),
        Fault::Stall(after) => {
            stream
                .write_all(&body[..after.min(body.len())])
                .await
                .ok()?;
            // Until the other side closes.
            while stream.read(&mut [0; 64]).await.ok()? > 0 {}
            None
        }
        Fault::Reset(after) => {
            stream
                .write_all(&body[..after.min(body.len())])
                .await
                .ok()?;
            // Closing without lingering is a reset; what was sent before may get lost with it.
            stream.set_zero_linger().ok()?;
            None
        }
        Fault::Gate(after, permits) => {
            let after = after.min(body.len());
            stream.write_all(&body[..after]).await.ok()?;
            permits.acquire().await.ok()?.forget();
            stream.write_all(&body[after..]).await.ok()
        }
        Fault::Drip(size, pause) => {
            for piece in body.chunks(size) {
                stream.write_all(piece).await.ok()?;
                tokio::time::sleep(pause).await;
            }
            Some(())
        }
    }
}
