//! Routes over HTTP, with an engine on a platform where nothing runs: statuses and shapes.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../../../wire/registry/tests/faulty/mod.rs"]
mod faulty;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::{Config, Engine};
use faulty::{Registry, Reply};
use rest::{Api, ApiVersion, Listener, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

struct Daemon {
    dir: PathBuf,
    _stop: watch::Sender<bool>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// An engine in a directory, with an API that nobody serves yet.
async fn api(dir: &Path) -> Api {
    let config = Config {
        data_root: dir.join("data"),
        exec_root: dir.join("run"),
        bridge: None,
        ..Config::default()
    };
    let compute = Arc::new(compute_sim::Sim::default());
    let engine = Engine::open(config, engine::Live::default(), compute).await;
    Api::new(engine.unwrap(), ApiVersion::oldest())
}

impl Daemon {
    async fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("routes-{}-{name}", std::process::id()));
        let api = api(&dir).await;
        let listener = UnixListener::bind(dir.join("socket")).unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(serve(api, Listener::Unix(listener), stopped));
        Self { dir, _stop: stop }
    }

    /// Status and body of an answer.
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(self.dir.join("socket")).await.unwrap();
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/json\r\n"
        };
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: d\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    async fn json(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.ask(method, path, body).await;
        (status, serde_json::from_str(&body).unwrap_or_default())
    }
}

#[tokio::test]
async fn volumes() {
    let daemon = Daemon::start("volumes").await;
    let made = json!({"Name": "vol", "Labels": {"a": "b"}}).to_string();
    let (status, volume) = daemon.json("POST", "/v1.51/volumes/create", &made).await;
    assert_eq!(
        (status, &volume["Name"], &volume["Scope"]),
        (201, &json!("vol"), &json!("local"))
    );
    let (status, anonymous) = daemon.json("POST", "/volumes/create", "{}").await;
    assert_eq!(
        (status, anonymous["Name"].as_str().unwrap().len()),
        (201, 64)
    );
    let (status, list) = daemon.json("GET", "/volumes", "").await;
    assert_eq!(
        (status, list["Volumes"].as_array().unwrap().len()),
        (200, 2)
    );
    assert_eq!(daemon.json("GET", "/volumes/vol", "").await, (200, volume));
    let (status, error) = daemon.json("GET", "/volumes/other", "").await;
    assert_eq!(
        (status, &error["message"]),
        (404, &json!("get other: no such volume"))
    );
    let driver = json!({"Name": "driven", "Driver": "x"}).to_string();
    assert_eq!(daemon.ask("POST", "/volumes/create", &driver).await.0, 404);
    let cluster = json!({"Name": "cluster", "ClusterVolumeSpec": {}}).to_string();
    assert_eq!(daemon.ask("POST", "/volumes/create", &cluster).await.0, 503);
    let (status, usage) = daemon.json("GET", "/system/df?type=volume", "").await;
    assert_eq!((status, &usage["Images"]), (200, &Value::Null));
    assert_eq!(
        usage["Volumes"][0]["UsageData"],
        json!({"RefCount": 0, "Size": 0})
    );
    // Only anonymous ones, unless an old client asks.
    let (status, report) = daemon.json("POST", "/volumes/prune", "").await;
    assert_eq!(
        (status, &report["VolumesDeleted"]),
        (200, &json!([anonymous["Name"]]))
    );
    let (_, report) = daemon.json("POST", "/v1.41/volumes/prune", "").await;
    assert_eq!(report["VolumesDeleted"], json!(["vol"]));
    assert_eq!(daemon.ask("DELETE", "/volumes/vol", "").await.0, 404);
    assert_eq!(
        daemon.ask("DELETE", "/volumes/vol?force=1", "").await.0,
        204
    );
    assert_eq!(daemon.ask("PUT", "/volumes/vol", "{}").await.0, 501);
}

#[tokio::test]
async fn disk_usage_and_image_prune() {
    let daemon = Daemon::start("usage").await;
    let (status, usage) = daemon.json("GET", "/v1.43/system/df", "").await;
    assert_eq!(status, 200);
    let image = &usage["Images"][0];
    assert_eq!(
        (&image["Containers"], &image["SharedSize"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(image["VirtualSize"], image["Size"]);
    // What the disk holds: the layer's tar with its index, in whole blocks.
    assert!(
        usage["LayersSize"].as_u64() >= image["Size"].as_u64(),
        "{usage}"
    );
    let empty = json!([]);
    assert_eq!(
        (&usage["Containers"], &usage["BuildCache"]),
        (&empty, &empty)
    );
    assert_eq!(daemon.ask("GET", "/system/df?type=x", "").await.0, 400);
    let one = "/v1.48/images/get?names=corten/hello&platform=";
    let absent = "%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22mips%22%7D";
    for (platform, status) in [("%7B%22os%22%3A%22linux%22%7D", 400), (absent, 404)] {
        let path = format!("{one}{platform}");
        assert_eq!(daemon.ask("GET", &path, "").await.0, status, "{platform}");
    }
    let (_, report) = daemon.json("POST", "/images/prune", "").await;
    assert_eq!(report, json!({"ImagesDeleted": null, "SpaceReclaimed": 0}));
    let all = "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D";
    let (status, report) = daemon.json("POST", all, "").await;
    assert_eq!((status, &report["SpaceReclaimed"]), (200, &image["Size"]));
    let wrong = "/images/prune?filters=%7B%22x%22%3A%5B%22y%22%5D%7D";
    assert_eq!(daemon.ask("POST", wrong, "").await.0, 400);
}

#[tokio::test]
async fn pulls_have_dockerds_statuses() {
    let (daemon, registry) = (Daemon::start("pulls").await, Registry::start().await);
    let at = registry.address;
    let pull = |image: &str, tag: &str| format!("/images/create?fromImage={image}&tag={tag}");
    for (path, status, text) in [
        (
            pull("a//b", "1"),
            400,
            "invalid reference format".to_owned(),
        ),
        (pull("a", "-"), 400, "invalid tag format".to_owned()),
        (
            pull("scratch", "1"),
            403,
            "'scratch' is a reserved name".to_owned(),
        ),
        (
            pull(&format!("{at}/x"), "1"),
            404,
            format!("manifest for {at}/x:1 not found: manifest unknown: manifest unknown"),
        ),
    ] {
        let (found, error) = daemon.json("POST", &path, "").await;
        assert_eq!((found, &error["message"]), (status, &json!(text)), "{path}");
    }
    let list = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [],
    });
    let top = registry.manifest("x", "1", &list);
    let (status, lines) = daemon.ask("POST", &pull(&format!("{at}/x"), "1"), "").await;
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((status, lines.len()), (200, 2));
    assert_eq!(lines[0], json!({"status": "Pulling from x", "id": "1"}));
    assert_eq!(lines[1]["errorDetail"]["message"], lines[1]["error"]);
    let (status, found) = daemon
        .json("GET", &format!("/distribution/{at}/x:1/json"), "")
        .await;
    assert_eq!((status, &found["Descriptor"]["digest"]), (200, &json!(top)));
    assert_eq!(
        daemon
            .ask("GET", &format!("/distribution/{at}/y/json"), "")
            .await
            .0,
        404
    );

    registry.order(|request, reply| match request.header("authorization") {
        "Basic dTpw" => reply,
        _ => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"r\""),
    });
    let auth = |password: &str| {
        json!({"username": "u", "password": password, "serveraddress": at.to_string()}).to_string()
    };
    let (status, body) = daemon.json("POST", "/auth", &auth("p")).await;
    let done = json!({"Status": "Login Succeeded", "IdentityToken": ""});
    assert_eq!((status, body), (200, done));
    let (status, error) = daemon.json("POST", "/auth", &auth("no")).await;
    let text = format!("login attempt to http://{at}/v2/ failed with status: 401 Unauthorized");
    assert_eq!((status, &error["message"]), (401, &json!(text)));
}

#[tokio::test]
async fn metrics_end_when_told_whoever_holds_a_connection() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(rest::serve_metrics(
        api(dir.path()).await,
        listener,
        stopped,
    ));
    // More than have a place, each of which keeps it: answered, and not closed.
    let mut held = Vec::new();
    for _ in 0..33 {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    for stream in &mut held[..32] {
        let request = b"GET /metrics HTTP/1.1\r\nHost: d\r\n\r\n";
        stream.write_all(request).await.unwrap();
        assert_ne!(stream.read(&mut [0; 64]).await.unwrap(), 0);
    }
    stop.send(true).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), stop.closed()).await;
    assert!(ended.is_ok(), "it goes on");
}
