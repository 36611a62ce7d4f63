//! Plugins of Docker's first kind: where one is found, and how it is spoken to.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::{Error, Result};
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Asked before a route is taken.
pub(super) const REQUEST: &str = "AuthZPlugin.AuthZReq";
/// Asked before an answer is sent.
pub(super) const RESPONSE: &str = "AuthZPlugin.AuthZRes";

const SOCKETS: &str = "/run/docker/plugins";
const SPECS: [&str; 2] = ["/etc/docker/plugins", "/usr/lib/docker/plugins"];
const KIND: &str = "application/vnd.docker.plugins.v1.2+json";
/// For how long a plugin that is not there is looked for, as dockerd does.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one may think about an answer.
const THINKING: Duration = Duration::from_secs(60);
/// The largest file that tells where a plugin is, and the largest answer of one, in bytes.
const MAX_SPEC: u64 = 64 << 10;
const MAX_ANSWER: usize = 1 << 20;

/// A plugin that has said what it is.
#[derive(Debug)]
pub(super) struct Plugin {
    pub(super) name: String,
    address: Address,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
}

/// Why a plugin gave no answer.
enum Failure {
    /// It cannot be reached; it may come yet.
    Away(String),
    /// It answered, and this is it.
    Said(String),
}

impl Plugin {
    /// Looks a plugin up and greets it. One that is not there yet is waited for.
    ///
    /// # Errors
    /// When there is none of this name after a while, or it does not implement `authz`.
    pub(super) async fn find(name: &str) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Manifest {
            #[serde(default, deserialize_with = "dockerapi::null_default")]
            implements: Vec<String>,
        }
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(Error::invalid(format!("invalid plugin name {name:?}")));
        }
        let plugin = persist(|| async {
            let address = locate(Path::new("/"), name)?;
            let name = name.to_owned();
            Ok(Self { name, address })
        })
        .await
        .map_err(Error::not_found)?;
        let said = plugin.call("Plugin.Activate", Bytes::new()).await;
        let said = said.map_err(Error::system)?;
        let manifest: Manifest = serde_json::from_slice(&said)
            .map_err(|error| Error::system(format!("plugin {name}: {error}")))?;
        if !manifest.implements.iter().any(|kind| kind == "authz") {
            return Err(Error::system(format!(
                "Plugin does not implement the requested driver: plugin={name:?}, requested \
                 implementation=\"authz\""
            )));
        }
        Ok(plugin)
    }

    /// Its answer to a call. One that cannot be reached is tried again for a while.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn call(
        &self,
        method: &str,
        body: Bytes,
    ) -> std::result::Result<Bytes, String> {
        persist(|| async {
            // To be reached is part of it: one whose backlog is full takes no connection.
            let answer = self.once(method, body.clone());
            tokio::time::timeout(THINKING, answer)
                .await
                .unwrap_or_else(|_| {
                    let why = format!("{method}: no answer within {THINKING:?}");
                    Err(Failure::Said(why))
                })
        })
        .await
    }

    async fn once(&self, method: &str, body: Bytes) -> std::result::Result<Bytes, Failure> {
        let away = |error: std::io::Error| {
            Failure::Away(match &self.address {
                Address::Unix(path) => format!("dial unix {}: {error}", path.display()),
                Address::Tcp(to) => format!("dial tcp {to}: {error}"),
            })
        };
        match &self.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(away)?;
                exchange(stream, "plugin.moby.localhost", method, body).await
            }
            Address::Tcp(to) => {
                let stream = TcpStream::connect(to).await.map_err(away)?;
                exchange(stream, to, method, body).await
            }
        }
    }
}

/// Tries until it works, it says why not, or patience ends. Nothing tells when a plugin begins to
/// listen; dockerd waits in these steps, too.
async fn persist<T, F: Future<Output = std::result::Result<T, Failure>>>(
    mut attempt: impl FnMut() -> F,
) -> std::result::Result<T, String> {
    let began = Instant::now();
    let mut pause = Duration::from_secs(1);
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(Failure::Said(said)) => return Err(said),
            Err(Failure::Away(why)) if began.elapsed() + pause >= PATIENCE => return Err(why),
            Err(Failure::Away(why)) => {
                tracing::warn!(why, ?pause, "a plugin cannot be reached, trying again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    method: &str,
    body: Bytes,
) -> std::result::Result<Bytes, Failure> {
    let away = |error: hyper::Error| Failure::Away(format!("{method}: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(away)?;
    // It ends with its one exchange, or when the sender is dropped.
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("/{method}"))
        .header(HOST, host)
        .header(ACCEPT, KIND)
        .header(CONTENT_TYPE, KIND)
        .body(Full::new(body))
        .map_err(|error| Failure::Said(format!("{method}: {error}")))?;
    let response = sender.send_request(request).await.map_err(away)?;
    let status = response.status();
    let answer = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await;
    connection.abort();
    let answer = answer.map_err(|error| Failure::Said(format!("{method}: {error}")))?;
    let answer = answer.to_bytes();
    if status == StatusCode::OK {
        return Ok(answer);
    }
    Err(Failure::Said(format!("{method}: {}", said(&answer))))
}

/// What a failed call says: its `Err`, or all of it.
fn said(answer: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Told {
        #[serde(rename = "Err")]
        error: String,
    }
    match serde_json::from_slice::<Told>(answer) {
        Ok(told) if !told.error.is_empty() => told.error,
        _ => String::from_utf8_lossy(answer).into_owned(),
    }
}

/// Where a plugin listens: a socket, or a file that names one.
fn locate(root: &Path, name: &str) -> std::result::Result<Address, Failure> {
    let in_root = |dir: &str| root.join(dir.trim_start_matches('/'));
    let pair = |dir: PathBuf, ending: &str| {
        let file = format!("{name}.{ending}");
        [dir.join(&file), dir.join(name).join(&file)]
    };
    for path in pair(in_root(SOCKETS), "sock") {
        if path
            .metadata()
            .is_ok_and(|facts| facts.file_type().is_socket())
        {
            return Ok(Address::Unix(path));
        }
    }
    for dir in SPECS {
        for ending in ["spec", "json"] {
            for path in pair(in_root(dir), ending) {
                match std::fs::File::open(&path) {
                    Ok(file) => {
                        let read = specification(file, ending == "json");
                        return read.map_err(|why| {
                            Failure::Said(format!("plugin {name}: {}: {why}", path.display()))
                        });
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => {
                        return Err(Failure::Said(format!("{}: {error}", path.display())));
                    }
                }
            }
        }
    }
    Err(Failure::Away(format!(
        "could not find plugin {name} in v1 plugin registry: plugin not found"
    )))
}

fn specification(file: std::fs::File, json: bool) -> std::result::Result<Address, String> {
    use std::io::Read as _;
    #[derive(Deserialize)]
    struct Described {
        #[serde(rename = "Addr")]
        address: String,
        #[serde(rename = "TLSConfig")]
        tls: Option<serde_json::Value>,
    }
    let mut text = String::new();
    file.take(MAX_SPEC)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if !json {
        return address(text.trim());
    }
    let described: Described = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let address = address(&described.address)?;
    if matches!(address, Address::Tcp(_)) && described.tls.is_some_and(|tls| !tls.is_null()) {
        return Err("plugins over TLS are not supported yet".into());
    }
    Ok(address)
}

fn address(text: &str) -> std::result::Result<Address, String> {
    match text.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(Address::Unix(path.into())),
        Some(("tcp" | "http", to)) => Ok(Address::Tcp(to.trim_end_matches('/').to_owned())),
        Some(("https", _)) => Err("plugins over TLS are not supported yet".into()),
        Some((scheme, _)) => Err(format!("unsupported protocol {scheme:?}")),
        None => Err("Unknown protocol".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, Failure, locate, said};
    use std::path::Path;

    fn found(root: &Path, name: &str) -> Result<Address, String> {
        locate(root, name).map_err(|failure| match failure {
            Failure::Away(why) | Failure::Said(why) => why,
        })
    }

    #[test]
    fn plugins_are_where_docker_looks() {
        let root = tempfile::tempdir().expect("directory");
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("directories");
            std::fs::write(path, text).expect("file");
        };
        put("etc/docker/plugins/a.spec", "unix:///x/a.sock\n");
        put(
            "usr/lib/docker/plugins/b/b.json",
            r#"{"Name":"b","Addr":"tcp://127.0.0.1:9"}"#,
        );
        put(
            "etc/docker/plugins/c.json",
            r#"{"Addr":"https://h:9","TLSConfig":{}}"#,
        );
        put("etc/docker/plugins/d.spec", "nonsense");
        put("run/docker/plugins/e.sock", "no socket");
        assert_eq!(
            found(root.path(), "a"),
            Ok(Address::Unix("/x/a.sock".into()))
        );
        assert_eq!(
            found(root.path(), "b"),
            Ok(Address::Tcp("127.0.0.1:9".into()))
        );
        assert!(found(root.path(), "c").is_err_and(|why| why.contains("TLS")));
        assert!(found(root.path(), "d").is_err_and(|why| why.ends_with("Unknown protocol")));
        assert!(found(root.path(), "e").is_err_and(|why| why.contains("could not find plugin e")));
        let socket = root.path().join("run/docker/plugins/f.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("socket");
        assert_eq!(found(root.path(), "f"), Ok(Address::Unix(socket)));
    }

    #[test]
    fn failures_are_told_in_the_plugins_words() {
        assert_eq!(said(br#"{"Err":"why"}"#), "why");
        assert_eq!(said(b"plain"), "plain");
    }
}
