//! How long a program of a large image takes to its first output over a slow network, lazily and
//! not: figures to be read beside each other, never asserted.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use e2e::root;

use crate::layers::{Entry, chunked, estargz, soci};
use crate::{LAZY, base, lab, name, noise};

/// Bytes per second.
const RATE: u64 = 20 << 20;

/// `cargo test -p e2e --test lazy figures -- --ignored --nocapture`
#[test]
#[allow(clippy::print_stdout, reason = "what it is for")]
#[ignore = "prints figures"]
fn figures() {
    if !root() {
        return;
    }
    for (format, write) in [
        ("eStargz", estargz as crate::Write),
        ("zstd:chunked", chunked),
        ("SOCI", soci),
    ] {
        let (mut lab, registry, _) = lab(write);
        let mut entries = base();
        for number in 0..2000 {
            let file = noise(1000 + number, 130_000);
            entries.push(Entry::file(&format!("lib/{number}"), file));
        }
        let layer = write(&entries);
        let size = layer.blob.len() >> 20;
        registry.push(&lab, "image", &[layer]);
        registry.faults.rate.store(RATE, Ordering::SeqCst);
        let run = [
            "run",
            "--rm",
            &name(),
            "sh",
            "-c",
            "sha256sum /lib/1000; ls /lib | wc -l",
        ];
        let timed = |lab: &e2e::Lab| -> Duration {
            let begun = Instant::now();
            lab.ok(&run);
            begun.elapsed()
        };
        registry.faults.given.store(0, Ordering::SeqCst);
        let lazy = timed(&lab);
        let given = registry.faults.given.load(Ordering::SeqCst) >> 20;
        let begun = Instant::now();
        crate::await_whole(&lab);
        let whole = lazy + begun.elapsed();
        lab.ok(&["rmi", &name()]);
        lab.stop_daemon();
        lab.set_flags(&[]);
        lab.start_daemon();
        let ordinary = timed(&lab);
        lab.ok(&["rmi", &name()]);
        lab.set_flags(&[LAZY]);
        println!(
            "{format}: {size} MiB at {} MiB/s: first output lazily {lazy:.2?} ({given} MiB had come; \
             all of it after {whole:.2?}), ordinarily {ordinary:.2?}",
            RATE >> 20
        );
    }
}
