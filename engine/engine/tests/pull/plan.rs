//! What a pull would fetch, told without fetching it.

use engine::{ErrorKind, Presence};

use super::*;

#[tokio::test]
async fn a_plan_tells_what_is_here_and_fetches_no_layer() {
    let lab = Lab::new("plan", 1).await;
    let base = tar("base", &noise(1, 50_000));
    let big = tar("big", &noise(2, 6 << 20));
    let plain = |tar: &Vec<u8>| (LAYER, tar.clone(), tar.clone());
    let old = image(&lab.registry, "x", &[plain(&base)], host());
    lab.registry.manifest("x", "old", &old);
    lab.pull("x", "old").await;
    let layers = [plain(&base), plain(&big), plain(&big)];
    let new = image(&lab.registry, "x", &layers, host());
    let digest = lab.registry.manifest("x", "new", &new);
    let blob = |layer: usize| new["layers"][layer]["digest"].as_str().unwrap().to_owned();

    let name = lab.name("x");
    let plan = async || {
        let plan = lab.engine.image_pull_plan(&name, "new", None, None);
        plan.await.unwrap()
    };
    let before = lab.registry.seen("/blobs/").len();
    let first = plan().await;
    assert_eq!((first.digest.as_str(), first.up_to_date), (&*digest, false));
    assert_eq!(first.id.as_str(), new["config"]["digest"].as_str().unwrap());
    assert_eq!(first.name, format!("{name}:new"));
    let of: Vec<Presence> = first.layers.iter().map(|(_, _, here)| *here).collect();
    let twice = [Presence::Present, Presence::Missing, Presence::Present];
    assert_eq!(of, twice, "a blob that comes twice is fetched once");
    assert_eq!(
        first.layers[1].2.to_fetch(first.layers[1].1),
        big.len() as u64
    );
    assert_eq!(
        lab.registry.seen("/blobs/").len(),
        before + 1,
        "its configuration"
    );
    assert!(lab.registry.seen(&blob(1)).is_empty());
    assert!(lab.partials().is_empty());

    // Of the second one some came before the connection broke.
    let broken = blob(1);
    lab.registry.order(move |request, mut reply| {
        match request.line.contains(&broken) {
            true if request.nth == 0 => reply.fault = Fault::Reset(1 << 20),
            true => return Reply::new(404, ""),
            false => {}
        }
        reply
    });
    error(&lab.pull("x", "new").await);
    let (_, size, here) = plan().await.layers[1].clone();
    let Presence::Partial(bytes) = here else {
        panic!("{here:?}");
    };
    assert!(bytes > 0 && bytes <= 1 << 20, "{bytes}");
    assert_eq!(here.to_fetch(size), size - bytes);

    lab.registry.order(|_, reply| reply);
    lab.pull("x", "new").await;
    let last = plan().await;
    assert!(last.up_to_date);
    assert!(
        last.layers
            .iter()
            .all(|(_, _, here)| *here == Presence::Present)
    );

    let refused = async |name: &str, tag: &str| {
        let plan = lab.engine.image_pull_plan(name, tag, None, None).await;
        plan.unwrap_err().kind
    };
    assert_eq!(refused(&name, "").await, ErrorKind::InvalidParameter);
    assert_eq!(refused(&name, "none").await, ErrorKind::NotFound);
}
