//! Debian's registry in the lab's network, and a front before it that drops, slows and damages.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use e2e::Lab;
use serde_json::{Value, json};

use crate::layers::{Layer, digest};

const REGISTRY: u16 = 5001;
/// Where the front listens.
pub(crate) const FRONT: u16 = 5000;

/// What the front does to blobs.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// It hangs up on everybody.
    pub(crate) gone: AtomicBool,
    /// Of a blob, parts that have any of these bytes are not given: the connection ends.
    pub(crate) withheld: Mutex<Option<(String, Range<u64>)>>,
    /// Of a blob, this byte is another one.
    pub(crate) damaged: Mutex<Option<(String, u64)>>,
    /// Bytes per second of all blobs together; 0 for no limit.
    pub(crate) rate: AtomicU64,
    /// When the next bytes may go, with a limit.
    next: Mutex<Option<Instant>>,
    /// Bytes of blobs that were given.
    pub(crate) given: AtomicU64,
}

pub(crate) struct Registry {
    _behind: e2e::registry::Registry,
    pub(crate) faults: Arc<Faults>,
    ended: Arc<AtomicBool>,
}

impl Registry {
    /// A registry with its files in the lab's directory.
    pub(crate) fn new(lab: &Lab) -> Self {
        let behind = e2e::registry::Registry::start_at(lab, &format!("127.0.0.1:{REGISTRY}"));
        let (faults, ended) = (
            Arc::new(Faults::default()),
            Arc::new(AtomicBool::new(false)),
        );
        let (to_front, ends) = (Arc::clone(&faults), Arc::clone(&ended));
        let listener = lab.in_network(|| TcpListener::bind(("127.0.0.1", FRONT)).expect("front"));
        // Connections to the registry are made in the lab's network: by threads that stay there.
        lab.in_network(move || {
            std::thread::spawn(move || serve(&listener, &to_front, &ends));
        });
        Self {
            _behind: behind,
            faults,
            ended,
        }
    }

    /// Pushes an image of these layers, past the front.
    pub(crate) fn push(&self, lab: &Lab, name: &str, layers: &[Layer]) {
        lab.in_network(|| push(name, layers));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

fn push(name: &str, layers: &[Layer]) {
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    let config = json!({
        "os": "linux", "architecture": "amd64",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = serde_json::to_vec(&config).expect("config");
    let described: Vec<Value> = layers
        .iter()
        .map(|layer| {
            let annotations: serde_json::Map<String, Value> = layer
                .annotations
                .iter()
                .map(|(name, value)| (name.clone(), Value::String(value.clone())))
                .collect();
            json!({
                "mediaType": layer.media_type, "digest": blob(name, &layer.blob),
                "size": layer.blob.len(), "annotations": annotations,
            })
        })
        .collect();
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": blob(name, &config), "size": config.len(),
        },
        "layers": described,
    });
    let ztocs: Vec<Value> = layers
        .iter()
        .filter_map(|layer| Some((layer, layer.ztoc.as_ref()?)))
        .map(|(layer, ztoc)| {
            json!({
                "mediaType": "application/octet-stream", "digest": blob(name, ztoc),
                "size": ztoc.len(),
                "annotations": {"com.amazon.soci.image-layer-digest": digest(&layer.blob)},
            })
        })
        .collect();
    if !ztocs.is_empty() {
        let index = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.amazon.soci.index.v2+json",
                "digest": blob(name, b"{}"), "size": 2,
            },
            "layers": ztocs,
        });
        let index = put_manifest(name, "soci", &index);
        manifest["annotations"] = json!({"com.amazon.soci.index-digest": index});
    }
    put_manifest(name, "latest", &manifest);
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn put_manifest(name: &str, tag: &str, manifest: &Value) -> String {
    let bytes = serde_json::to_vec(manifest).expect("manifest");
    let path = format!("/v2/{name}/manifests/{tag}");
    let (head, _) = exchange("PUT", &path, MANIFEST, &bytes);
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    digest(&bytes)
}

fn blob(name: &str, bytes: &[u8]) -> String {
    let digest = digest(bytes);
    let (head, _) = exchange("POST", &format!("/v2/{name}/blobs/uploads/"), "", &[]);
    let location = header(&head, "location").expect("a place for the upload");
    let (_, path) = location
        .split_once(&format!(":{REGISTRY}"))
        .expect("location");
    let path = format!("{path}&digest={digest}");
    let (head, _) = exchange("PUT", &path, "application/octet-stream", bytes);
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    digest
}

fn exchange(method: &str, path: &str, kind: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", REGISTRY)).expect("registry");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{REGISTRY}\r\nConnection: close\r\n\
         Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("request");
    stream.write_all(body).expect("request");
    answer(stream).expect("answer")
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
}

fn head_of(reader: &mut impl io::BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

/// An answer whose connection ends with it.
fn answer(stream: TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let head = head_of(&mut reader)?;
    let mut body = Vec::new();
    reader.read_to_end(&mut body)?;
    Ok((head, body))
}

fn serve(listener: &TcpListener, faults: &Arc<Faults>, ended: &AtomicBool) {
    listener.set_nonblocking(true).expect("front");
    while !ended.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, _)) => {
                let faults = Arc::clone(faults);
                std::thread::spawn(move || {
                    stream.set_nonblocking(false).expect("stream");
                    let _ = one(stream, &faults);
                });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// One request and its answer, then the end.
fn one(stream: TcpStream, faults: &Faults) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let request = head_of(&mut reader)?;
    if faults.gone.load(Ordering::SeqCst) {
        return Ok(());
    }
    let range = header(&request, "range").and_then(|range| {
        let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some(start.parse::<u64>().ok()?..end.parse::<u64>().map_or(u64::MAX, |end| end + 1))
    });
    let is_blob = request.starts_with("GET") && request.contains("/blobs/");
    let wanted = range.clone().unwrap_or(0..u64::MAX);
    if let Some((of, withheld)) = &*faults.withheld.lock().expect("faults")
        && request.contains(of.as_str())
        && wanted.start < withheld.end
        && withheld.start < wanted.end
    {
        return Ok(());
    }
    let mut lines: Vec<&str> = request.trim_end().split("\r\n").collect();
    lines.retain(|line| !line.to_lowercase().starts_with("connection:"));
    let registry = TcpStream::connect(("127.0.0.1", REGISTRY))?;
    (&registry)
        .write_all(format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n")).as_bytes())?;
    let (head, mut body) = answer(registry)?;
    if let Some((of, at)) = &*faults.damaged.lock().expect("faults")
        && request.contains(of.as_str())
        && let Some(byte) = at
            .checked_sub(wanted.start)
            .and_then(|at| body.get_mut(usize::try_from(at).ok()?))
    {
        *byte ^= 0x55;
    }
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    for part in body.chunks(64 << 10) {
        if is_blob {
            faults.take_turn(part.len() as u64);
        }
        if faults.gone.load(Ordering::SeqCst) {
            return Ok(());
        }
        stream.write_all(part)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // The other side has all of it when it hangs up.
    let _ = reader.read(&mut [0]);
    Ok(())
}

impl Faults {
    /// Waits until so many bytes may go.
    fn take_turn(&self, bytes: u64) {
        self.given.fetch_add(bytes, Ordering::SeqCst);
        let rate = self.rate.load(Ordering::SeqCst);
        if rate == 0 {
            return;
        }
        let wait = {
            let mut next = self.next.lock().expect("faults");
            let now = Instant::now();
            let from = next.unwrap_or(now).max(now);
            *next = Some(from + Duration::from_secs_f64(bytes as f64 / rate as f64));
            from - now
        };
        std::thread::sleep(wait);
    }
}
