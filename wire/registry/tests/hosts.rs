//! Where the client asks, when it asks again, and what it shows of us: mirrors of `hosts.toml`, waits
//! that registries ask for, tokens, and nobody at all.

#![allow(clippy::unwrap_used, reason = "a test")]

mod faulty;

use std::time::Duration;

use faulty::{Fault, Registry, Reply, digest};
use oci::image::Descriptor;
use oci::{Digest, Reference};
use registry::{Begun, Client, Config, Credentials, Error, Kind, Piece, Repository};
use serde_json::json;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn config() -> Config {
    Config {
        attempts: 3,
        stall: Duration::from_secs(1),
        patience: Duration::from_secs(20),
        hosts_dirs: Vec::new(),
        ..Config::default()
    }
}

fn descriptor(digest: &str, size: usize) -> Descriptor {
    let value = json!({"mediaType": "x/y", "digest": digest, "size": size});
    serde_json::from_value(value).unwrap()
}

fn repository(config: Config, name: &str) -> Repository {
    let reference: Reference = name.parse().unwrap();
    Client::new(config).repository(&reference, &Credentials::default())
}

/// The bytes of a blob, and the waits on the way.
async fn fetch(
    repository: &Repository,
    descriptor: &Descriptor,
) -> (Result<Vec<u8>, Error>, Vec<Duration>) {
    let mut blob = repository.blob(descriptor, 0..descriptor.size);
    let (mut all, mut waits) = (Vec::new(), Vec::new());
    loop {
        match blob.next().await {
            Ok(Some(Piece::Bytes(bytes))) => all.extend_from_slice(&bytes),
            Ok(Some(Piece::Retrying { after, .. })) => waits.push(after),
            Ok(None) => return (Ok(all), waits),
            Err(error) => return (Err(error), waits),
        }
    }
}

/// A directory in which `x.lan` has this `hosts.toml`.
fn hosts(text: &str) -> (tempfile::TempDir, Config) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("x.lan")).unwrap();
    std::fs::write(dir.path().join("x.lan/hosts.toml"), text).unwrap();
    let hosts_dirs = vec![dir.path().to_owned()];
    (
        dir,
        Config {
            hosts_dirs,
            ..config()
        },
    )
}

#[tokio::test]
async fn what_registries_say_about_waiting_is_kept_to() {
    let registry = Registry::start().await;
    let wanted = descriptor(&registry.blob("x", b"body"), 4);
    registry.order(
        |request, reply| match (request.line.contains("/blobs/"), request.nth) {
            (true, 0) => Reply::new(429, "").with("Retry-After", "1"),
            (true, 1) => Reply::new(503, "").with("Retry-After", "0"),
            _ => reply,
        },
    );
    let of = repository(config(), &format!("{}/x", registry.address));
    let (got, waits) = fetch(&of, &wanted).await;
    assert_eq!(got.unwrap(), b"body");
    assert_eq!(waits, [Duration::from_secs(1), Duration::ZERO]);
    // A day is told, not waited for.
    registry.order(|request, reply| match request.line.contains("/blobs/") {
        true => Reply::new(429, "slow down").with("Retry-After", "86400"),
        false => reply,
    });
    let before = registry.seen("/blobs/").len();
    let error = fetch(&of, &wanted).await.0.unwrap_err();
    assert_eq!(error.kind, Kind::RateLimited);
    assert_eq!(error.retry_after, Some(Duration::from_secs(86_400)));
    assert_eq!(registry.seen("/blobs/").len(), before + 1);
}

#[tokio::test]
async fn storms_of_401_end_after_one_new_token() {
    let registry = Registry::start().await;
    let wanted = descriptor(&registry.blob("x", b"body"), 4);
    let realm = format!("Bearer realm=\"http://{}/token\"", registry.address);
    registry.order(move |request, _| match request.line.contains(" /token") {
        true => Reply::new(200, format!(r#"{{"token":"t{}"}}"#, request.nth)),
        false => Reply::new(401, "").with("WWW-Authenticate", realm.clone()),
    });
    let of = repository(config(), &format!("{}/x", registry.address));
    let error = fetch(&of, &wanted).await.0.unwrap_err();
    assert_eq!(error.kind, Kind::Denied);
    assert!(error.message.contains("'docker login'"), "{error}");
    assert_eq!(registry.seen("/token").len(), 2);
    assert_eq!(registry.seen("/blobs/").len(), 2);
}

#[tokio::test]
async fn redirects_to_dead_hosts_are_errors_that_name_them() {
    let registry = Registry::start().await;
    let wanted = descriptor(&registry.blob("x", b"body"), 4);
    // Nobody listens there: the port was just given back.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = dead.local_addr().unwrap();
    drop(dead);
    registry.order(
        move |request, reply| match request.line.contains("/blobs/") {
            true => Reply::new(307, "").with("Location", format!("http://{address}/blob")),
            false => reply,
        },
    );
    let of = repository(config(), &format!("{}/x", registry.address));
    let (got, waits) = fetch(&of, &wanted).await;
    let error = got.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.message.contains("connection refused"), "{error}");
    assert!(error.message.contains(&address.to_string()), "{error}");
    assert_eq!(waits.len(), 2);
}

#[tokio::test]
async fn mirrors_are_asked_in_order_for_what_they_may_be() {
    let (bad, good) = (Registry::start().await, Registry::start().await);
    let wanted = descriptor(&good.blob("cached/y", b"body"), 4);
    bad.put(
        &format!("/v2/y/blobs/{}", wanted.digest),
        "x/y",
        b"evil".to_vec(),
    );
    let body = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
        "config": {"mediaType": "x/y", "size": 4, "digest": wanted.digest}});
    let name = good.manifest("cached/y", "1", &body);
    let (_dir, config) = hosts(&format!(
        r#"
        [host."http://{}"]
          capabilities = ["pull"]
        [host."http://{}/v2/cached"]
          override_path = true
          [host."http://{}/v2/cached".header]
            x-team = "a"
        "#,
        bad.address, good.address, good.address
    ));
    let of = repository(config, "x.lan/y");
    // Tags are for the second to tell.
    assert_eq!(of.manifest("1").await.unwrap().digest.as_str(), name);
    assert!(bad.seen("/manifests/").is_empty());
    let asked = &good.seen("/v2/cached/y/manifests/1")[0];
    assert!(asked.line.ends_with("?ns=x.lan"), "{}", asked.line);
    assert_eq!(asked.header("x-team"), "a");
    // Content that is not what it should be is fetched from the next one.
    assert_eq!(of.config(&wanted).await.unwrap(), b"body");
    assert_eq!(bad.seen("/blobs/").len(), 1);
    assert_eq!(good.seen("/blobs/").len(), 1);
}

#[tokio::test]
async fn changed_files_are_read_by_the_next_session() {
    let registry = Registry::start().await;
    let wanted = descriptor(&registry.blob("y", b"body"), 4);
    let (dir, config) = hosts("server = 3");
    let client = Client::new(config);
    let reference: Reference = "x.lan/y".parse().unwrap();
    let of = || client.repository(&reference, &Credentials::default());
    let error = fetch(&of(), &wanted).await.0.unwrap_err();
    assert_eq!(error.kind, Kind::Invalid);
    assert!(error.message.contains("hosts.toml"), "{error}");
    let text = format!("server = \"http://{}\"", registry.address);
    std::fs::write(dir.path().join("x.lan/hosts.toml"), text).unwrap();
    assert_eq!(fetch(&of(), &wanted).await.0.unwrap(), b"body");
}

#[tokio::test]
async fn offline_nobody_is_asked() {
    let registry = Registry::start().await;
    let wanted = descriptor(&registry.blob("x", b"body"), 4);
    let client = Client::new(Config {
        offline: true,
        ..config()
    });
    let reference: Reference = format!("{}/x", registry.address).parse().unwrap();
    let of = || client.repository(&reference, &Credentials::default());
    let error = fetch(&of(), &wanted).await.0.unwrap_err();
    assert_eq!(error.kind, Kind::Offline);
    assert!(registry.seen("").is_empty());
    client.configure(config());
    assert_eq!(fetch(&of(), &wanted).await.0.unwrap(), b"body");
}

#[tokio::test]
async fn referrers_by_their_api_or_by_their_tag() {
    let registry = Registry::start().await;
    let subject: Digest = digest(b"image").parse().unwrap();
    let entry = json!({"mediaType": MANIFEST, "digest": digest(b"signature"), "size": 9,
        "artifactType": "application/x.signature"});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    let of = repository(config(), &format!("{}/x", registry.address));
    assert_eq!(of.referrers(&subject).await.unwrap(), []);
    registry.manifest("x", &subject.as_str().replace(':', "-"), &index);
    let found = of.referrers(&subject).await.unwrap();
    assert_eq!(found[0].digest.as_str(), digest(b"signature"));
    let path = format!("/v2/x/referrers/{subject}");
    let none = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []});
    registry.put(&path, INDEX, serde_json::to_vec(&none).unwrap());
    assert_eq!(of.referrers(&subject).await.unwrap(), []);
}

#[tokio::test]
async fn mounts_ask_for_a_token_that_reads_the_other_repository() {
    let registry = Registry::start().await;
    let realm = format!("Bearer realm=\"http://{}/token\"", registry.address);
    registry.order(move |request, reply| {
        let may = request.header("authorization").starts_with("Bearer t");
        if request.line.contains(" /token") {
            return Reply::new(200, format!(r#"{{"token":"t{}"}}"#, request.nth));
        }
        match request.line.starts_with("POST") {
            _ if !may => Reply::new(401, "").with("WWW-Authenticate", realm.clone()),
            true if request.line.contains("mount=") => Reply::new(201, ""),
            _ => reply,
        }
    });
    let reference: Reference = format!("{}/a", registry.address).parse().unwrap();
    let of = Client::new(config()).writable(&reference, &Credentials::default());
    let blob: Digest = digest(b"blob").parse().unwrap();
    assert!(!of.has_blob(&blob).await.unwrap());
    let begun = of.begin(Some((&blob, "b"))).await.unwrap();
    assert!(matches!(begun, Begun::Mounted));
    let tokens = registry.seen("/token");
    assert!(
        tokens[0]
            .line
            .ends_with("?scope=repository%3Aa%3Apull%2Cpush")
    );
    assert!(
        tokens[1]
            .line
            .ends_with("?scope=repository%3Aa%3Apull%2Cpush&scope=repository%3Ab%3Apull"),
        "{tokens:?}"
    );
}

#[tokio::test]
async fn layers_that_registries_do_not_keep_come_from_their_urls() {
    let (registry, other) = (Registry::start().await, Registry::start().await);
    let mut wanted = descriptor(&other.blob("z", b"body"), 4);
    wanted.urls = vec![format!(
        "http://{}/v2/z/blobs/{}",
        other.address, wanted.digest
    )];
    let of = repository(config(), &format!("{}/x", registry.address));
    assert_eq!(fetch(&of, &wanted).await.0.unwrap(), b"body");
    assert_eq!(other.seen("/blobs/").len(), 1);
}

#[tokio::test]
async fn parts_end_where_they_should() {
    let registry = Registry::start().await;
    let wanted = descriptor(&registry.blob("x", b"0123456789"), 10);
    let of = repository(config(), &format!("{}/x", registry.address));
    let mut blob = of.blob(&wanted, 2..9);
    let Some(Piece::Bytes(first)) = blob.next().await.unwrap() else {
        panic!("no bytes");
    };
    assert_eq!(first, b"2345678"[..]);
    assert!(blob.ranges());
    assert_eq!(blob.next().await.unwrap(), None);
    assert_eq!(registry.seen("/blobs/")[0].header("range"), "bytes=2-8");
    // Another took the end over.
    registry.order(|request, reply| match request.line.contains("/blobs/") {
        true => Reply {
            fault: Fault::Drip(1, Duration::from_millis(1)),
            ..reply
        },
        false => reply,
    });
    let mut blob = of.blob(&wanted, 0..10);
    blob.next().await.unwrap();
    blob.shorten(4);
    let mut got = 1;
    while let Some(Piece::Bytes(bytes)) = blob.next().await.unwrap() {
        got += bytes.len();
    }
    assert_eq!((got, blob.offset()), (4, 4));
}
