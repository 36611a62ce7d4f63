//! The client against a registry that fails in every way a network and a server can.

#![allow(clippy::unwrap_used, reason = "a test")]

mod faulty;

use std::time::Duration;

use faulty::{Fault, Registry, Reply, digest};
use oci::image::Descriptor;
use oci::{Platform, Reference};
use registry::{Begun, Client, Config, Credentials, Error, Kind, Piece, Repository};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn client() -> Client {
    Client::new(Config {
        attempts: 3,
        stall: Duration::from_secs(1),
        patience: Duration::from_secs(20),
        ..Config::default()
    })
}

fn repository(registry: &Registry, name: &str, credentials: &Credentials) -> Repository {
    let reference: Reference = format!("{}/{name}", registry.address).parse().unwrap();
    client().repository(&reference, credentials)
}

fn descriptor(digest: &str, size: usize) -> Descriptor {
    let value = json!({"mediaType": "x/y", "digest": digest, "size": size});
    serde_json::from_value(value).unwrap()
}

/// Bytes that do not repeat soon.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24).to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

async fn fetch(repository: &Repository, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
    let mut blob = repository.blob(descriptor, 0..descriptor.size);
    let mut all = Vec::new();
    while let Some(piece) = blob.next().await? {
        if let Piece::Bytes(bytes) = piece {
            all.extend_from_slice(&bytes);
        }
    }
    Ok(all)
}

/// Fetches a blob of 200,000 bytes whose first reply is spoiled.
async fn spoiled(fault: Fault, ranges: bool) -> (Registry, Result<Vec<u8>, Error>) {
    let registry = Registry::start().await;
    let body = noise(200_000);
    let wanted = descriptor(&registry.blob("x", &body), body.len());
    let whole = body.clone();
    registry.order(move |request, reply| {
        if !request.line.contains("/blobs/") {
            return reply;
        }
        let reply = match (ranges, reply.status) {
            (false, 206) => Reply::new(200, whole.clone()),
            _ => reply,
        };
        match request.nth {
            0 => Reply {
                fault: fault.clone(),
                ..reply
            },
            _ => reply,
        }
    });
    let got = fetch(
        &repository(&registry, "x", &Credentials::default()),
        &wanted,
    )
    .await;
    (registry, got)
}

#[tokio::test]
async fn a_blob_that_stalls_or_breaks_goes_on_where_it_stopped() {
    for fault in [
        Fault::Stall(70_000),
        Fault::Reset(70_000),
        Fault::Stall(0),
        Fault::Reset(0),
    ] {
        let (registry, got) = spoiled(fault.clone(), true).await;
        assert_eq!(got.expect("blob"), noise(200_000), "{fault:?}");
        let requests = registry.seen("/blobs/");
        assert_eq!(requests.len(), 2, "{fault:?}");
        // A reset may overtake what was sent before it; a stall does not.
        if let Fault::Stall(after @ 1..) = fault {
            assert_eq!(requests[1].header("range"), format!("bytes={after}-199999"));
        }
    }
}

#[tokio::test]
async fn a_registry_without_ranges_sends_all_again() {
    let (registry, got) = spoiled(Fault::Stall(70_000), false).await;
    assert_eq!(got.expect("blob"), noise(200_000));
    assert_eq!(registry.seen("/blobs/").len(), 2);
}

#[tokio::test]
async fn slow_is_not_stalled() {
    let pause = Duration::from_millis(20);
    let (registry, got) = spoiled(Fault::Drip(3_000, pause), true).await;
    assert_eq!(got.expect("blob").len(), 200_000);
    assert_eq!(registry.seen("/blobs/").len(), 1);
}

#[tokio::test]
async fn attempts_end() {
    let registry = Registry::start().await;
    let wanted = descriptor(&registry.blob("x", &noise(10_000)), 10_000);
    registry.order(|request, reply| match request.line.contains("/blobs/") {
        true => Reply {
            fault: Fault::Stall(0),
            ..reply
        },
        false => reply,
    });
    let got = fetch(
        &repository(&registry, "x", &Credentials::default()),
        &wanted,
    )
    .await;
    assert_eq!(got.unwrap_err().kind, Kind::Timeout);
    assert_eq!(registry.seen("/blobs/").len(), 3);
}

#[tokio::test]
async fn lengths_and_digests_are_held_to() {
    let registry = Registry::start().await;
    let (body, anonymous) = (noise(1_000), Credentials::default());
    let name = registry.blob("x", &body);
    let repository = repository(&registry, "x", &anonymous);
    for wrong in [999, 1_001] {
        let error = fetch(&repository, &descriptor(&name, wrong))
            .await
            .unwrap_err();
        assert_eq!(error.kind, Kind::Corrupt, "{error}");
        assert!(error.message.contains("has 1000 bytes"), "{error}");
    }
    let other = digest(b"other");
    registry.put(&format!("/v2/x/blobs/{other}"), "x/y", body.clone());
    let error = repository
        .config(&descriptor(&other, body.len()))
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::Corrupt);
    assert!(
        error
            .message
            .starts_with("image config verification failed"),
        "{error}"
    );
    registry.put(
        &format!("/v2/x/manifests/{other}"),
        MANIFEST,
        b"{}".to_vec(),
    );
    let error = repository.manifest(&other).await.unwrap_err();
    assert_eq!(error.kind, Kind::Corrupt);
}

#[tokio::test]
async fn busy_registries_are_asked_again() {
    let registry = Registry::start().await;
    let wanted = descriptor(&registry.blob("x", b"body"), 4);
    registry.order(
        |request, reply| match (request.line.contains("/blobs/"), request.nth) {
            (true, 0) => Reply::new(503, "busy"),
            (true, 1) => Reply::new(
                429,
                r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"m"}]}"#,
            ),
            _ => reply,
        },
    );
    let got = fetch(
        &repository(&registry, "x", &Credentials::default()),
        &wanted,
    )
    .await;
    assert_eq!(got.expect("blob"), b"body");
}

#[tokio::test]
async fn redirects_are_followed_without_our_credentials() {
    let (registry, other) = (Registry::start().await, Registry::start().await);
    let wanted = descriptor(&other.blob("cdn", b"body"), 4);
    let to = format!("http://{}/v2/cdn/blobs/{}", other.address, wanted.digest);
    registry.order(move |request, reply| {
        match (
            request.header("authorization"),
            request.line.contains("/blobs/"),
        ) {
            ("", _) => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"r\""),
            (_, true) => Reply::new(307, "").with("Location", to.clone()),
            _ => reply,
        }
    });
    let who = Credentials {
        username: "u".into(),
        password: "p".into(),
        ..Default::default()
    };
    let got = fetch(&repository(&registry, "x", &who), &wanted).await;
    assert_eq!(got.expect("blob"), b"body");
    assert_eq!(
        registry.seen("/blobs/")[0].header("authorization"),
        "Basic dTpw"
    );
    assert_eq!(other.seen("/blobs/")[0].header("authorization"), "");
}

#[tokio::test]
async fn credentials_of_a_url_do_not_come_back_from_another_host() {
    let (first, other) = (Registry::start().await, Registry::start().await);
    let (there, back) = (
        format!("http://{}/there", other.address),
        format!("http://{}/back", first.address),
    );
    first.order(move |request, _| match request.line.as_str() {
        "GET /from" => Reply::new(302, "").with("Location", "/on"),
        "GET /on" => Reply::new(302, "").with("Location", there.clone()),
        _ => Reply::new(200, "body"),
    });
    other.order(move |_, _| Reply::new(302, "").with("Location", back.clone()));
    let url = format!("http://u:p@{}/from", first.address);
    let mut opened = client().open(&url).await.expect("opened");
    assert_eq!(
        opened.next().await.expect("bytes").as_deref(),
        Some(&b"body"[..])
    );
    let shown = |registry: &Registry, line: &str| {
        let seen = registry.seen(line);
        seen.iter()
            .map(|it| it.header("authorization").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(&first, "/from"), ["Basic dTpw"]);
    assert_eq!(shown(&first, "/on"), ["Basic dTpw"]);
    assert_eq!(shown(&other, "/there"), [""]);
    assert_eq!(shown(&first, "/back"), [""]);
}

/// Wants a bearer token, which its own `/token` gives; the first one is worth nothing for blobs.
fn with_tokens(registry: &Registry) {
    let realm = format!(
        "Bearer realm=\"http://{}/token\",service=\"s\",scope=\"repository:x:pull\"",
        registry.address
    );
    registry.order(move |request, reply| {
        if request.line.contains(" /token") {
            let allowed = request.line.starts_with("POST")
                || matches!(request.header("authorization"), "" | "Basic dTpw");
            return match allowed {
                true => Reply::new(200, format!(r#"{{"token":"t{}"}}"#, request.nth)),
                false => Reply::new(401, r#"{"details":"incorrect username or password"}"#),
            };
        }
        match request.header("authorization") {
            "Bearer t0" if request.line.contains("/blobs/") => {
                Reply::new(401, "").with("WWW-Authenticate", realm.clone())
            }
            token if token.starts_with("Bearer t") => reply,
            _ => Reply::new(401, "").with("WWW-Authenticate", realm.clone()),
        }
    });
}

#[tokio::test]
async fn tokens_are_fetched_and_renewed() {
    let registry = Registry::start().await;
    let wanted = descriptor(&registry.blob("x", b"body"), 4);
    with_tokens(&registry);
    for who in [
        Credentials::default(),
        Credentials {
            username: "u".into(),
            password: "p".into(),
            ..Default::default()
        },
        Credentials {
            identity_token: "refresh".into(),
            ..Default::default()
        },
    ] {
        let before = registry.seen("/token").len();
        let got = fetch(&repository(&registry, "x", &who), &wanted).await;
        assert_eq!(got.expect("blob"), b"body", "{who:?}");
        assert!(registry.seen("/token").len() > before);
    }
    let posts = registry.seen("POST /token");
    assert!(posts[0].body.contains("refresh_token=refresh"), "{posts:?}");
    let wrong = Credentials {
        username: "u".into(),
        password: "no".into(),
        ..Default::default()
    };
    let error = fetch(&repository(&registry, "x", &wrong), &wanted)
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::Denied, "{error}");
}

#[tokio::test]
async fn a_server_is_asked_once_what_it_wants() {
    for tokens in [false, true] {
        let registry = Registry::start().await;
        let wanted = descriptor(&registry.blob("x", b"body"), 4);
        if tokens {
            with_tokens(&registry);
        }
        let client = client();
        let reference: Reference = format!("{}/x", registry.address).parse().unwrap();
        let get = async || {
            let repository = client.repository(&reference, &Credentials::default());
            assert_eq!(fetch(&repository, &wanted).await.expect("blob"), b"body");
            let asked = registry.seen("/v2/").into_iter();
            asked.filter(|it| it.line == "GET /v2/").count()
        };
        assert_eq!(get().await, 1);
        assert_eq!(get().await, 1, "asked again (tokens: {tokens})");
        // New settings may mean another server.
        client.configure(Config::default());
        assert_eq!(get().await, 2, "not asked again (tokens: {tokens})");
    }
}

#[tokio::test]
async fn log_in() {
    let registry = Registry::start().await;
    let domain = registry.address.to_string();
    let of = |password: &str| Credentials {
        username: "u".into(),
        password: password.into(),
        ..Default::default()
    };
    with_tokens(&registry);
    assert_eq!(client().login(&domain, &of("p")).await, Ok(String::new()));
    let error = client().login(&domain, &of("no")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unauthorized);
    let text = format!("Get \"http://{domain}/v2/\": unauthorized: incorrect username or password");
    assert_eq!(error.message, text);
    registry.order(|request, reply| match request.header("authorization") {
        "Basic dTpw" => reply,
        _ => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"r\""),
    });
    assert_eq!(client().login(&domain, &of("p")).await, Ok(String::new()));
    let error = client().login(&domain, &of("no")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unauthorized);
    let text = format!("login attempt to http://{domain}/v2/ failed with status: 401 Unauthorized");
    assert_eq!(error.message, text);
}

fn manifest(marker: &str) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
        "config": {"mediaType": "x/y", "digest": digest(b""), "size": 0},
        "annotations": {"marker": marker},
    })
}

#[tokio::test]
async fn platforms_are_chosen_from_lists() {
    let registry = Registry::start().await;
    let entries: Vec<Value> = ["amd64", "arm64"]
        .iter()
        .map(|arch| {
            let digest = registry.manifest("x", arch, &manifest(arch));
            let platform = json!({"os": "linux", "architecture": arch});
            json!({"mediaType": MANIFEST, "digest": digest, "size": 1, "platform": platform})
        })
        .collect();
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    let top = registry.manifest("x", "latest", &list);
    let repository = repository(&registry, "x", &Credentials::default());
    let arm: Platform = "linux/arm64".parse().unwrap();
    let found = repository.resolve(&arm).await.expect("resolved");
    assert_eq!(found.top.digest.as_str(), top);
    assert_eq!(found.manifest.annotations["marker"], "arm64");
    let missing = repository
        .resolve(&"linux/s390x".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(missing.kind, Kind::NotFound);
    let text = "no matching manifest for linux/s390x in the manifest list entries";
    assert_eq!(missing.message, text);
}

#[tokio::test]
async fn tags_come_in_pages() {
    let registry = Registry::start().await;
    registry.order(|request, reply| {
        let page = |text: &str| Reply::new(200, text).with("Content-Type", "application/json");
        match request.line.as_str() {
            "GET /v2/x/tags/list" => page(r#"{"name":"x","tags":["1","2"]}"#)
                .with("Link", "</v2/x/tags/list?last=2&n=2>; rel=\"next\""),
            "GET /v2/x/tags/list?last=2&n=2" => page(r#"{"name":"x","tags":["3"]}"#),
            _ => reply,
        }
    });
    let repository = repository(&registry, "x", &Credentials::default());
    assert_eq!(repository.tags().await.expect("tags"), ["1", "2", "3"]);
}

#[tokio::test]
async fn what_is_not_there_is_told_in_dockers_words() {
    let registry = Registry::start().await;
    let repository = repository(&registry, "a/b", &Credentials::default());
    let error = repository.resolve(&Platform::host()).await.unwrap_err();
    let name = format!("{}/a/b:latest", registry.address);
    assert_eq!(error.kind, Kind::NotFound);
    let text = format!("manifest for {name} not found: manifest unknown: manifest unknown");
    assert_eq!(error.message, text);
    registry.order(
        |request, reply| match request.line.contains("/manifests/") {
            true => Reply::new(403, r#"{"errors":[{"code":"DENIED","message":"no"}]}"#),
            false => reply,
        },
    );
    assert_eq!(
        repository
            .resolve(&Platform::host())
            .await
            .unwrap_err()
            .kind,
        Kind::Denied
    );
}

/// A registry that reads what is sent to it slowly; answers its address and, in the end, how often
/// bytes were sent.
async fn slow_reader() -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // So that what was sent is what was read, nearly.
    socket.set_recv_buffer_size(64 << 10).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(8).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = std::sync::Arc::clone(&counted);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if head[0] == 0x16 {
                        return;
                    }
                    if !head.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
                    let length = text.lines().find_map(|line| {
                        let (name, value) = line.split_once(": ")?;
                        let is = name.eq_ignore_ascii_case("content-length");
                        is.then(|| value.parse::<usize>().ok())?
                    });
                    let mut left = length.unwrap_or(0);
                    let mut buffer = vec![0; 512 << 10];
                    while left > 0 {
                        let read = left.min(buffer.len());
                        if stream.read_exact(&mut buffer[..read]).await.is_err() {
                            return;
                        }
                        left -= read;
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    let status = match text.split(' ').next() {
                        Some("POST") => 202,
                        Some("PATCH") => {
                            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            202
                        }
                        Some("PUT") => 201,
                        _ => 200,
                    };
                    let answer = format!(
                        "HTTP/1.1 {status} x\r\nLocation: /upload\r\nContent-Length: 0\r\n\r\n"
                    );
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, sent)
}

#[tokio::test]
async fn a_slow_line_is_no_silent_registry() {
    let (address, sent) = slow_reader().await;
    let client = Client::new(Config {
        attempts: 1,
        // Less than the bytes take, more than what is in buffers does.
        patience: Duration::from_secs(2),
        ..Config::default()
    });
    let reference: Reference = format!("{address}/x").parse().unwrap();
    let repository = client.writable(&reference, &Credentials::default());
    let Begun::Upload(mut upload) = repository.begin(None).await.expect("begun") else {
        panic!("mounted from nowhere");
    };
    let piece = noise(8 << 20);
    let hash = digest(&piece).parse().unwrap();
    upload.send(piece.into()).await.expect("sent");
    upload
        .commit(&hash, Default::default())
        .await
        .expect("committed");
    assert_eq!(sent.load(std::sync::atomic::Ordering::Relaxed), 1);
}
