//! Measures keepers on this machine, as root with busybox-static:
//! `cargo run --release -p compute-linux --example measure`.
//!
//! Medians of: launch to exit of `true`, launch alone, exec of `true`; log throughput; memory of an
//! idle keeper.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    dead_code,
    unused_imports,
    reason = "a measurement, and what it shares with the tests"
)]

#[path = "../tests/bed/mod.rs"]
mod bed;

use std::time::{Duration, Instant};

use bed::*;
use compute::*;

const ROUNDS: usize = 100;

fn main() {
    let Some(bed) = Bed::new() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        starts(&bed).await;
        execs(&bed).await;
        log_throughput(&bed).await;
        memory(&bed).await;
    });
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() * 9 / 10]);
    println!("{what:<32} median {median:>9.2?}   p90 {worst:>9.2?}");
}

async fn starts(bed: &Bed) {
    let compute = bed.compute();
    let (mut launched, mut ended, mut released) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let launch = bed.launch(&["/bin/true"]);
        let id = launch.id.clone();
        let begun = Instant::now();
        let mut running = compute.launch(launch).await.unwrap();
        launched.push(begun.elapsed());
        end(&mut running).await;
        ended.push(begun.elapsed());
        let begun = Instant::now();
        compute.release(&id).await.unwrap();
        released.push(begun.elapsed());
    }
    show("launch", launched);
    show("launch to exit", ended);
    show("release", released);
}

async fn execs(bed: &Bed) {
    let compute = bed.compute();
    let launch = bed.launch(&["sleep", "1000"]);
    let id = launch.id.clone();
    let _running = compute.launch(launch).await.unwrap();
    let mut times = Vec::new();
    for n in 0..ROUNDS {
        let exec = Exec {
            exec_id: n.to_string(),
            process: oci::runtime::Process {
                args: vec!["/bin/true".into()],
                cwd: "/".into(),
                ..Default::default()
            },
            identity: Identity::default(),
            open_stdin: false,
            attachment: None,
            unconfined: false,
        };
        let begun = Instant::now();
        let running = compute.exec(&id, exec).await.unwrap();
        running.exit.await.unwrap();
        times.push(begun.elapsed());
    }
    show("exec to exit", times);
    compute.release(&id).await.unwrap();
}

async fn log_throughput(bed: &Bed) {
    let compute = bed.compute();
    let line = "a line of seventy-three characters, as the log benchmark has them, here.";
    let script = format!("yes '{line}' | head -n 1000000");
    let launch = bed.launch(&[
        "/bin/busybox",
        "sh",
        "-c",
        &script
            .replace("yes", "busybox yes")
            .replace("head", "busybox head"),
    ]);
    let id = launch.id.clone();
    let begun = Instant::now();
    let mut running = compute.launch(launch).await.unwrap();
    let pid = keeper(&running);
    let mut spent = 0;
    while let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        let ticks: u64 = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|t| t.parse::<u64>().unwrap())
            .sum();
        spent = spent.max(ticks);
        let step = tokio::time::timeout(Duration::from_millis(20), running.notices.recv());
        if step.await.is_ok() {
            break;
        }
    }
    let took = begun.elapsed();
    let lines = std::fs::read_to_string(bed.log(&id))
        .unwrap()
        .lines()
        .count();
    println!(
        "log: {lines} lines in {took:.2?}, {:.0} lines/s; keeper's processor time about {} ms",
        lines as f64 / took.as_secs_f64(),
        spent * 10,
    );
    compute.release(&id).await.unwrap();
}

async fn memory(bed: &Bed) {
    let compute = bed.compute();
    let mut all = Vec::new();
    for _ in 0..20 {
        let launch = bed.launch(&["sleep", "1000"]);
        let id = launch.id.clone();
        let running = compute.launch(launch).await.unwrap();
        all.push((id, running));
    }
    let (mut pss, mut private) = (0, 0);
    for (_, running) in &all {
        let text =
            std::fs::read_to_string(format!("/proc/{}/smaps_rollup", keeper(running))).unwrap();
        let of = |key: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(key));
            line.unwrap()
                .split_whitespace()
                .next()
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        pss += of("Pss:");
        private += of("Private_Dirty:");
    }
    let n = all.len() as u64;
    println!(
        "idle keeper, one of {n}: PSS {} KiB, private dirty {} KiB",
        pss / n,
        private / n
    );
    for (id, _) in all {
        compute.release(&id).await.unwrap();
    }
}
