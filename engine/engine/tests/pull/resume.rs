//! Pulls that break off, and those that go on: what arrived is not asked for again.

use std::collections::BTreeMap;
use std::ops::Range;

use super::*;

/// Length of the layers here: some segments of the file that a blob is kept in.
const LENGTH: usize = 20 << 20;

/// One layer of noise, its blob's digest, and the image of it at `name:latest`.
fn large(registry: &Registry, name: &str) -> String {
    let layer = tar("noise", &noise(7, LENGTH));
    let digest = digest(&layer);
    let layers = [(LAYER, layer.clone(), layer)];
    let manifest = image(registry, name, &layers, host());
    registry.manifest(name, "latest", &manifest);
    digest
}

/// The parts of a blob that were asked for, in order.
fn asked(registry: &Registry, digest: &str) -> Vec<Range<usize>> {
    let requests = registry.seen(digest);
    let whole = |range: Option<(usize, Option<usize>)>| match range {
        Some((start, end)) => start..end.unwrap_or(usize::MAX),
        None => 0..usize::MAX,
    };
    requests.iter().map(|it| whole(it.range())).collect()
}

fn downloaded(lines: &[JsonMessage]) {
    let text = texts(lines, "")[1];
    assert!(text.starts_with("Status: Downloaded newer"), "{lines:?}");
}

#[tokio::test]
async fn a_pull_goes_on_where_another_was_left() {
    let lab = Lab::new("again", 1).await;
    let digest = large(&lab.registry, "x");
    let after = 9 << 20;
    let held = digest.clone();
    lab.registry
        .order(move |request, reply| match request.line.contains(&held) {
            true => Reply {
                fault: Fault::Stall(after),
                ..reply
            },
            false => reply,
        });
    let mut lines = lab.start("x", "latest");
    let kept = lab.dir.0.join("data/partial").join(&digest[7..]);
    // Until everything that was sent is in the file.
    loop {
        let line = lines.recv().await.expect("a line");
        let current = line.progress_detail.map_or(0, |detail| detail.current);
        if line.status == "Downloading" && current == after as u64 {
            break;
        }
    }
    drop(lines);
    for _ in 0..500 {
        if lab.layers().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(lab.layers().is_empty(), "no layer before it is whole");
    assert!(kept.exists());
    lab.registry.order(|_, reply| reply);
    downloaded(&lab.pull("x", "latest").await);
    let asked = asked(&lab.registry, &digest);
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].start, after);
    // What an image has is not kept twice.
    assert!(lab.partials().is_empty());
}

#[tokio::test]
async fn finished_layers_of_a_failed_pull_are_not_fetched_again() {
    let lab = Lab::new("finished", 3).await;
    let manifest = three(&lab.registry, "x");
    lab.registry.manifest("x", "latest", &manifest);
    let name = |layer: usize| {
        manifest["layers"][layer]["digest"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (broken, last) = (name(0), short(&manifest, 2));
    let permits = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&permits);
    lab.registry.order(move |request, reply| {
        match request.line.contains(&broken) {
            // Fails when the others are there.
            true => Reply {
                fault: Fault::Gate(10, Arc::clone(&gate)),
                body: noise(5, reply.body.len()),
                ..reply
            },
            false => reply,
        }
    });
    let mut lines = lab.start("x", "latest");
    let mut complete = 0;
    while complete < 2 {
        let line = lines.recv().await.expect("a line");
        complete += usize::from(line.status == "Pull complete");
    }
    permits.add_permits(2);
    let lines = rest(&mut lines).await;
    assert!(
        error(&lines).error.contains("verification failed"),
        "{lines:?} {last}"
    );
    assert!(lab.settled().await.is_empty());
    lab.registry.order(|_, reply| reply);
    downloaded(&lab.pull("x", "latest").await);
    assert_eq!(lab.registry.seen(&name(1)).len(), 1);
    assert_eq!(lab.registry.seen(&name(2)).len(), 1);
    assert_eq!(lab.settled().await.len(), 3);
}

#[tokio::test]
async fn a_large_layer_comes_over_several_connections() {
    let lab = Lab::new("parts", 3).await;
    let digest = large(&lab.registry, "x");
    let held = digest.clone();
    lab.registry
        .order(move |request, reply| match request.line.contains(&held) {
            true => Reply {
                // Slow enough for another to be worth it.
                fault: Fault::Drip(64 << 10, Duration::from_millis(2)),
                ..reply
            }
            .with("Accept-Ranges", "bytes"),
            false => reply,
        });
    downloaded(&lab.pull("x", "latest").await);
    let asked = asked(&lab.registry, &digest);
    assert!(asked.len() > 1, "{asked:?}");
    // Whoever takes a share of a part takes its end.
    for range in &asked[1..] {
        assert!(range.start > 0 && range.start % (4 << 20) == 0, "{asked:?}");
    }
    let starts: BTreeMap<_, _> = asked.iter().map(|it| (it.start, it.end)).collect();
    assert_eq!(
        starts.len(),
        asked.len(),
        "twice from the same place: {asked:?}"
    );
}

#[tokio::test]
async fn registries_without_ranges_are_skipped_through() {
    let lab = Lab::new("whole", 3).await;
    let digest = large(&lab.registry, "x");
    let (held, whole) = (digest.clone(), tar("noise", &noise(7, LENGTH)));
    lab.registry
        .order(move |request, reply| match request.line.contains(&held) {
            true => Reply {
                fault: match request.nth {
                    0 => Fault::Stall(5 << 20),
                    _ => Fault::None,
                },
                ..Reply::new(200, whole.clone())
            },
            false => reply,
        });
    let mut lines = lab.start("x", "latest");
    loop {
        let line = lines.recv().await.expect("a line");
        let current = line.progress_detail.map_or(0, |detail| detail.current);
        if line.status == "Downloading" && current == 5 << 20 {
            break;
        }
    }
    drop(lines);
    downloaded(&lab.pull("x", "latest").await);
    assert_eq!(lab.registry.seen(&digest).len(), 2);
}

#[tokio::test]
async fn waits_are_told_as_dockerd_tells_them() {
    let lab = Lab::new("waits", 3).await;
    let manifest = three(&lab.registry, "x");
    lab.registry.manifest("x", "latest", &manifest);
    let held = manifest["layers"][1]["digest"].as_str().unwrap().to_owned();
    lab.registry.order(move |request, reply| {
        match request.line.contains(&held) && request.nth == 0 {
            true => Reply::new(503, "").with("Retry-After", "2"),
            false => reply,
        }
    });
    let lines = lab.pull("x", "latest").await;
    downloaded(&lines);
    let texts = texts(&lines, &short(&manifest, 1));
    assert!(texts.contains(&"Retrying in 2 seconds"), "{texts:?}");
    assert!(texts.contains(&"Retrying in 1 second"), "{texts:?}");
}

#[tokio::test]
async fn two_images_share_the_download_of_a_layer() {
    let lab = Lab::new("both", 3).await;
    let shared = tar("shared", &noise(3, 2 << 20));
    let of = |name: &str, base: &[u8]| {
        let base = tar("base", base);
        let layers = [
            (LAYER, base.clone(), base),
            (LAYER, shared.clone(), shared.clone()),
        ];
        let manifest = image(&lab.registry, name, &layers, host());
        lab.registry.manifest(name, "latest", &manifest);
    };
    of("a", b"one");
    of("b", b"two");
    let name = digest(&shared);
    let permits = Arc::new(Semaphore::new(0));
    let (gate, held) = (Arc::clone(&permits), name.clone());
    lab.registry
        .order(move |request, reply| match request.line.contains(&held) {
            true => Reply {
                fault: Fault::Gate(1000, Arc::clone(&gate)),
                ..reply
            },
            false => reply,
        });
    let mut first = lab.start("a", "latest");
    lab.registry.wait_for(&name).await;
    let mut second = lab.start("b", "latest");
    loop {
        let line = second.recv().await.expect("a line");
        if line.id == name[7..19] && line.status == "Waiting" {
            break;
        }
    }
    permits.add_permits(1);
    let (first, second) = tokio::join!(rest(&mut first), rest(&mut second));
    downloaded(&first);
    downloaded(&second);
    assert_eq!(lab.registry.seen(&name).len(), 1);
    assert_eq!(lab.settled().await.len(), 4);
    assert!(lab.partials().is_empty());
}
