//! A test's own host: a network namespace that lives as long as the test, and sockets inside others.

#![allow(dead_code, reason = "each test file uses its part of this")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bridge::{Bridge, Config, Endpoint, HostPort, Protocol, Publish, Request};
use netlink::nft::{Family, Nft};
use netlink::route::{Requests, Route, Veth};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
pub(crate) const MAPS: [&str; 4] = ["tcp_addr", "udp_addr", "tcp_any", "udp_any"];

/// Runs `test` in a network namespace of its own, with `lo` up.
pub(crate) fn host<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(move || {
        sys::network::unshare_network().unwrap();
        Route::open()
            .unwrap()
            .run(Requests::new().set_up(1, true))
            .unwrap();
        test()
    });
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs `work` on a thread inside `netns`.
pub(crate) fn inside<T: Send + 'static>(
    netns: impl AsFd,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    start_inside(netns, work).join().unwrap()
}

/// Starts `work` on a thread inside `netns`.
pub(crate) fn start_inside<T: Send + 'static>(
    netns: impl AsFd,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let netns = netns.as_fd().try_clone_to_owned().unwrap();
    thread::spawn(move || {
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    })
}

pub(crate) fn config() -> Config {
    Config {
        pool: 0,
        ..Config::default()
    }
}

pub(crate) fn id(n: usize) -> String {
    format!("{n:064x}")
}

pub(crate) fn plain<'a>(id: &'a str, ports: &'a [Publish]) -> Request<'a> {
    Request {
        endpoint_id: id,
        mac: None,
        ip: None,
        ports,
        sysctls: &[],
    }
}

pub(crate) fn tcp(host_ip: Option<IpAddr>, host_port: u16, container_port: u16) -> Publish {
    let host_port = HostPort::one(host_port);
    Publish {
        container_port,
        proto: Protocol::Tcp,
        host_ip,
        host_port,
    }
}

pub(crate) fn udp(host_port: u16, container_port: u16) -> Publish {
    Publish {
        proto: Protocol::Udp,
        ..tcp(None, host_port, container_port)
    }
}

/// Serves one TCP connection after another inside an endpoint: answers with the peer's address.
pub(crate) fn serve_tcp(netns: impl AsFd, port: u16) {
    let listener = inside(netns, move || {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()
    });
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let peer = stream.peer_addr().unwrap();
            let _ = stream.write_all(peer.ip().to_string().as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
        }
    });
}

/// Serves UDP inside an endpoint: answers every datagram with its sender's address.
pub(crate) fn serve_udp(netns: impl AsFd, port: u16) {
    let socket = inside(netns, move || {
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()
    });
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(peer.ip().to_string().as_bytes(), peer);
        }
    });
}

/// Connects and reads what the server saw as the peer's address.
pub(crate) fn ask_tcp(to: impl Into<SocketAddr>) -> Result<IpAddr, std::io::Error> {
    ask_tcp_for(to, PATIENCE)
}

pub(crate) fn ask_tcp_for(
    to: impl Into<SocketAddr>,
    patience: Duration,
) -> Result<IpAddr, std::io::Error> {
    let mut stream = TcpStream::connect_timeout(&to.into(), patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    text.parse().map_err(std::io::Error::other)
}

pub(crate) fn ask_udp(to: impl Into<SocketAddr>) -> Result<IpAddr, std::io::Error> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(to.into())?;
    socket.send(b"hello")?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    std::str::from_utf8(&buffer[..length])
        .unwrap()
        .parse()
        .map_err(std::io::Error::other)
}

/// Another host: a namespace joined to the test's by a pair of links, 10.9.0.1 here and 10.9.0.2
/// there, which is its default gateway.
pub(crate) fn other_host() -> OwnedFd {
    let netns = bridge::new_namespace(true).unwrap();
    let mut route = Route::open().unwrap();
    let mut requests = Requests::new();
    requests.add_veth(&Veth {
        name: "uplink",
        master: 0,
        mtu: 1500,
        peer_name: "far",
        peer_mac: [2, 0, 0, 0, 9, 2],
        peer_netns: netns.as_fd(),
    });
    route.run(&mut requests).unwrap();
    let near = route.link("uplink").unwrap().unwrap().index;
    let ip = |n| IpAddr::V4(Ipv4Addr::new(10, 9, 0, n));
    route
        .run(Requests::new().add_address(near, ip(1), 24, false))
        .unwrap();
    inside(&netns, move || {
        let mut route = Route::open().unwrap();
        let far = route.link("far").unwrap().unwrap().index;
        let mut requests = Requests::new();
        requests
            .add_address(far, ip(2), 24, false)
            .set_up(far, true);
        requests.add_default_route(far, ip(1));
        route.run(&mut requests).unwrap();
    });
    netns
}

/// Names of the links that belong to the network, without the bridge itself.
pub(crate) fn endpoint_links() -> Vec<String> {
    let links = Route::open().unwrap().links().unwrap();
    let ours = links
        .into_iter()
        .filter(|link| link.kind.as_deref() == Some("veth"));
    ours.map(|link| link.name)
        .filter(|name| name != "uplink")
        .collect()
}

/// How many elements the maps have together.
pub(crate) fn elements() -> usize {
    let mut nft = Nft::open().unwrap();
    MAPS.iter()
        .map(|map| nft.elements(Family::Ip, "corten", map).unwrap().len())
        .sum()
}

/// Waits until `done`, looking again and again: for what the kernel finishes by itself.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn connect(bridge: &Bridge, n: usize, ports: &[Publish]) -> Endpoint {
    bridge.connect(plain(&id(n), ports)).unwrap()
}

pub(crate) fn fd(endpoint: &Endpoint) -> BorrowedFd<'_> {
    endpoint.netns.as_fd()
}
