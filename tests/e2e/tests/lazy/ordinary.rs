//! Ordinary gzip layers: whole when they come for the first time, and lazy when they come again.

use e2e::{Lab, Options, root};

use crate::front::Registry;
use crate::layers::{Entry, Layer, digest, gzip, soci, tar};
use crate::{APART, LAZY, await_whole, base, content, logs, name, noise, read, unfinished};

/// Larger than pieces are: one lies within it, whatever comes before.
const LARGE: usize = 12 << 20;

fn entries() -> Vec<Entry> {
    let mut all = base();
    for entry in &mut all {
        if entry.name == APART {
            entry.content = noise(2, LARGE);
        }
    }
    all
}

/// One member, as gzip(1) writes it, and where the blob has the large file.
fn one_member(entries: &[Entry]) -> Layer {
    Layer {
        ztoc: None,
        ..soci(entries)
    }
}

/// Several members, as parallel compressors write them.
fn members(entries: &[Entry]) -> Layer {
    let tar = tar(entries);
    let blob = tar.chunks(1 << 20).flat_map(gzip).collect();
    Layer {
        blob,
        ..one_member(entries)
    }
}

fn comes_again(write: fn(&[Entry]) -> Layer) {
    if !root() {
        return;
    }
    let lab = Lab::with(Options {
        flags: vec![LAZY.into()],
        no_image: true,
        ..Options::default()
    });
    let registry = Registry::new(&lab);
    let entries = entries();
    let layer = write(&entries);
    registry.push(&lab, "image", std::slice::from_ref(&layer));
    lab.ok(&["pull", "-q", &name()]);
    assert_eq!(unfinished(&lab), 0, "it came as a whole");
    lab.ok(&["rmi", &name()]);
    let kept = std::fs::read_dir(lab.data_root().join("checkpoints"));
    assert_eq!(kept.expect("checkpoints").count(), 1, "{}", logs(&lab));

    // The compressed bytes of noise are where those of the tar are, nearly.
    let place = layer.place(APART);
    let middle = place.start + (LARGE as u64 / 3);
    let withheld = middle..middle + (64 << 10);
    *registry.faults.withheld.lock().expect("faults") = Some((digest(&layer.blob), withheld));
    lab.ok(&["run", "-d", "--name", "box", &name(), "sleep", "1000"]);
    assert_ne!(unfinished(&lab), 0, "{}", logs(&lab));
    for file in ["data/several chunks", "data/behind", "data/zeros"] {
        assert_eq!(read(&lab, file), content(&entries, file));
    }
    let refused = crate::sh(&lab, "cat /data/apart > /dev/null");
    assert!(refused.err.contains("Input/output error"), "{refused:?}");
    assert_ne!(unfinished(&lab), 0, "read before it was whole");
    registry.give();
    assert_eq!(read(&lab, APART), content(&entries, APART));
    await_whole(&lab);
    assert_eq!(read(&lab, APART), content(&entries, APART));
    lab.ok(&["rm", "-f", "box"]);

    // A prune of everything takes along what is known.
    lab.ok(&["image", "prune", "-af"]);
    let kept = std::fs::read_dir(lab.data_root().join("checkpoints"));
    assert_eq!(kept.expect("checkpoints").count(), 0);
    lab.ok(&["pull", "-q", &name()]);
    assert_eq!(unfinished(&lab), 0, "it came as a whole");
}

#[test]
fn a_gzip_layer_is_lazy_when_it_comes_again() {
    comes_again(one_member);
}

#[test]
fn a_layer_of_several_members_is_too() {
    comes_again(members);
}
