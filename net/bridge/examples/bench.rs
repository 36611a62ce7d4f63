//! How long connecting and disconnecting takes, in a network namespace of its own (needs root):
//!
//! `cargo run --release -p bridge --example bench`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement, not a program"
)]

use std::thread;
use std::time::{Duration, Instant};

use bridge::{Bridge, Config, HostPort, Protocol, Publish, Request};
use netlink::route::{Requests, Route};

const ROUNDS: usize = 200;

fn main() {
    let measuring = thread::spawn(|| {
        sys::network::unshare_network().unwrap();
        Route::open()
            .unwrap()
            .run(Requests::new().set_up(1, true))
            .unwrap();
        println!(
            "{:<28}{:>12}{:>12}{:>14}{:>12}",
            "medians, µs", "connect", "p90", "disconnect", "p90"
        );
        for (name, pool, ports) in [
            ("without pool", 0, 0),
            ("without pool, 2 ports", 0, 2),
            ("pool of 4", 4, 0),
            ("pool of 4, 2 ports", 4, 2),
        ] {
            measure(name, pool, ports);
        }
        namespaces();
    });
    measuring.join().unwrap();
}

fn measure(name: &str, pool: usize, ports: u16) {
    let config = Config {
        pool,
        ..Config::default()
    };
    let bridge = Bridge::open(config.clone(), Vec::new()).unwrap();
    let (mut connects, mut disconnects) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let id = format!("{round:064x}");
        let ports: Vec<_> = (0..ports).map(|n| publish(8000 + n)).collect();
        // As between one start and the next: the pool has had time to fill up.
        thread::sleep(Duration::from_millis(if pool > 0 { 15 } else { 3 }));
        let started = Instant::now();
        let endpoint = bridge
            .connect(Request {
                endpoint_id: &id,
                mac: None,
                ip: None,
                ports: &ports,
                sysctls: &[],
            })
            .unwrap();
        connects.push(started.elapsed());
        drop(endpoint);
        let started = Instant::now();
        bridge.disconnect(&id).unwrap();
        disconnects.push(started.elapsed());
    }
    drop(bridge);
    Bridge::purge(&config).unwrap();
    let (connect, disconnect) = (spread(connects), spread(disconnects));
    println!(
        "{name:<28}{:>12}{:>12}{:>14}{:>12}",
        connect.0, connect.1, disconnect.0, disconnect.1
    );
}

fn namespaces() {
    let times = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        bridge::new_namespace(true).unwrap();
        started.elapsed()
    });
    let (median, p90) = spread(times.collect());
    println!("{:<28}{median:>12}{p90:>12}", "empty namespace");
}

fn publish(port: u16) -> Publish {
    let host_port = HostPort::one(port);
    Publish {
        container_port: 80,
        proto: Protocol::Tcp,
        host_ip: None,
        host_port,
    }
}

/// Median and 90th percentile, µs.
fn spread(mut times: Vec<Duration>) -> (u128, u128) {
    times.sort_unstable();
    (
        times[times.len() / 2].as_micros(),
        times[times.len() * 9 / 10].as_micros(),
    )
}
