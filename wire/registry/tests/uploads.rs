//! Uploads to a registry that loses some of them.

#![allow(clippy::unwrap_used, reason = "a test")]

mod faulty;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use faulty::{Registry, Reply, Request, digest};
use oci::Reference;
use registry::{Begun, Client, Config, Credentials, Kind, Upload};

/// What one upload has, by a registry that keeps to the specification, and what it does wrong.
#[derive(Default)]
struct Kept {
    bytes: String,
    /// Number of uploads that were begun.
    begun: usize,
    /// It has forgotten the upload.
    forgotten: bool,
    done: bool,
}

type State = Arc<Mutex<Kept>>;

/// `fault` sees each request with a body before it is heeded, and may answer in its place.
async fn start(
    fault: impl Fn(&Request, &mut Kept) -> Option<Reply> + Send + Sync + 'static,
) -> (Registry, State) {
    let registry = Registry::start().await;
    let state = State::default();
    let kept = Arc::clone(&state);
    registry.order(move |request, reply| {
        let mut kept = kept.lock().unwrap();
        let method = request.line.split(' ').next().unwrap();
        let at = format!("/upload/{}", kept.begun);
        if matches!(method, "PATCH" | "PUT")
            && let Some(reply) = fault(request, &mut kept)
        {
            return reply;
        }
        let range = || format!("0-{}", kept.bytes.len().max(1) - 1);
        match method {
            "POST" => {
                kept.begun += 1;
                kept.bytes.clear();
                let at = format!("/upload/{}", kept.begun);
                Reply::new(202, "").with("Location", at)
            }
            _ if kept.forgotten && request.line.contains("/upload/") => Reply::new(404, ""),
            "GET" if request.line.contains("/upload/") => Reply::new(204, "")
                .with("Location", at)
                .with("Range", range()),
            "PATCH" => {
                let from = format!("{}-", kept.bytes.len());
                if !request.header("content-range").starts_with(&from) {
                    return Reply::new(416, "")
                        .with("Location", at)
                        .with("Range", range());
                }
                kept.bytes.push_str(&request.body);
                Reply::new(202, "").with("Location", at)
            }
            "PUT" => {
                kept.bytes.push_str(&request.body);
                kept.done = true;
                Reply::new(201, "")
            }
            "DELETE" => Reply::new(204, ""),
            "HEAD" if kept.done => Reply::new(200, ""),
            _ => reply,
        }
    });
    (registry, state)
}

async fn begin(registry: &Registry) -> Box<Upload> {
    let client = Client::new(Config {
        attempts: 3,
        ..Config::default()
    });
    let reference: Reference = format!("{}/x", registry.address).parse().unwrap();
    let repository = client.writable(&reference, &Credentials::default());
    match repository.begin(None).await.unwrap() {
        Begun::Upload(upload) => upload,
        Begun::Mounted => panic!("mounted from nowhere"),
    }
}

fn bytes(state: &State) -> String {
    state.lock().unwrap().bytes.clone()
}

#[tokio::test]
async fn what_had_come_of_a_piece_is_not_sent_again() {
    let (registry, state) = start(|request, kept| {
        // Of the second piece half is taken before something fails.
        let fails = request.line.starts_with("PATCH") && request.nth == 1;
        fails.then(|| {
            kept.bytes.push_str(&request.body[..3]);
            Reply::new(503, "")
        })
    })
    .await;
    let mut upload = begin(&registry).await;
    upload.send(Bytes::from("first ")).await.unwrap();
    upload.send(Bytes::from("second ")).await.unwrap();
    let hash = digest(b"first second third").parse().unwrap();
    upload.commit(&hash, Bytes::from("third")).await.unwrap();
    assert_eq!(bytes(&state), "first second third");
    let sent: Vec<String> = registry
        .seen("PATCH")
        .into_iter()
        .map(|request| request.header("content-range").to_owned() + " " + &request.body)
        .collect();
    assert_eq!(sent, ["0-5 first ", "6-12 second ", "9-12 ond "]);
}

#[tokio::test]
async fn a_piece_whose_answer_was_lost_is_not_sent_again() {
    let (registry, state) = start(|request, kept| {
        let fails = request.line.starts_with("PATCH") && request.nth == 0;
        fails.then(|| {
            kept.bytes.push_str(&request.body);
            Reply::new(500, "")
        })
    })
    .await;
    let mut upload = begin(&registry).await;
    upload.send(Bytes::from("first ")).await.unwrap();
    upload.send(Bytes::from("second")).await.unwrap();
    let hash = digest(b"first second").parse().unwrap();
    upload.commit(&hash, Bytes::new()).await.unwrap();
    assert_eq!(bytes(&state), "first second");
    assert_eq!(registry.seen("PATCH").len(), 2);
}

#[tokio::test]
async fn the_end_may_fail_or_its_answer_be_lost() {
    // It came in part.
    let (registry, state) = start(|request, kept| {
        let fails = request.line.starts_with("PUT") && kept.bytes.is_empty();
        fails.then(|| {
            kept.bytes.push_str(&request.body[..2]);
            Reply::new(502, "")
        })
    })
    .await;
    let hash = digest(b"whole").parse().unwrap();
    let upload = begin(&registry).await;
    upload.commit(&hash, Bytes::from("whole")).await.unwrap();
    assert_eq!(bytes(&state), "whole");
    // All of it came, and then the upload was over.
    let (registry, state) = start(|request, kept| {
        (kept.forgotten, kept.done) = (true, true);
        kept.bytes.clone_from(&request.body);
        Some(Reply::new(504, ""))
    })
    .await;
    let upload = begin(&registry).await;
    upload.commit(&hash, Bytes::from("whole")).await.unwrap();
    assert_eq!(bytes(&state), "whole");
    // It was lost.
    let (registry, _) = start(|_, kept| {
        kept.forgotten = true;
        Some(Reply::new(504, ""))
    })
    .await;
    let lost = begin(&registry).await.commit(&hash, Bytes::from("whole"));
    let error = lost.await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.message.contains("lost the upload"), "{error}");
}

#[tokio::test]
async fn a_registry_that_is_somewhere_else_is_not_written_on() {
    let (registry, _) = start(|request, kept| {
        let second = request.line.starts_with("PATCH") && request.nth == 1;
        second.then(|| {
            kept.bytes.clear();
            Reply::new(503, "")
        })
    })
    .await;
    let mut upload = begin(&registry).await;
    upload.send(Bytes::from("first ")).await.unwrap();
    let error = upload.send(Bytes::from("second")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Corrupt, "{error}");
    assert!(
        error.message.contains("has 0 bytes of the upload"),
        "{error}"
    );
}

#[tokio::test]
async fn uploads_that_are_given_up_are_cancelled() {
    let (registry, _) = start(|_, _| None).await;
    let upload = begin(&registry).await;
    let hash = digest(b"whole").parse().unwrap();
    upload.commit(&hash, Bytes::from("whole")).await.unwrap();
    let mut upload = begin(&registry).await;
    upload.send(Bytes::from("half")).await.unwrap();
    drop(upload);
    registry.wait_for("DELETE /upload/2").await;
    assert!(
        registry.seen("DELETE /upload/1").is_empty(),
        "it was committed"
    );
}
