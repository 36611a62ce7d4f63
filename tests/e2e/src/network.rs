//! Threads in the lab's network, in a container's, and in that of another host; and the smallest
//! servers and clients, which tell whom they saw.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use netlink::nft::{Family, Nft};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Lab;

/// How long a packet that is not dropped may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs `work` on a thread in the network namespace of a process.
fn in_network_of<T: Send>(pid: u32, work: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/proc/{pid}/ns/net")).expect("network namespace");
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("setns");
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

impl Lab {
    /// Runs `work` on a thread in the network of the lab's host.
    pub fn in_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        in_network_of(self.holder_pid(), work)
    }

    /// Runs `work` on a thread in the network of a running container.
    #[track_caller]
    pub fn in_container<T: Send>(&self, name: &str, work: impl FnOnce() -> T + Send) -> T {
        let pid = self.inspect(name, "{{.State.Pid}}");
        in_network_of(pid.parse().expect("a pid"), work)
    }

    /// A container's address on the default bridge.
    #[track_caller]
    pub fn ip(&self, name: &str) -> IpAddr {
        let ip = self.inspect(name, "{{.NetworkSettings.Networks.bridge.IPAddress}}");
        ip.parse().expect("an address")
    }

    /// Ports that the engine's firewall translates, as `map key data` in hexadecimal.
    pub fn published(&self) -> Vec<String> {
        self.in_network(|| {
            let mut nft = Nft::open().expect("nf_tables");
            if !nft.has_table(Family::Ip, "corten").expect("tables") {
                return Vec::new();
            }
            let maps = ["tcp_addr", "udp_addr", "tcp_any", "udp_any"];
            let of_map = |map: &&str| {
                let elements = nft.elements(Family::Ip, "corten", map).expect("elements");
                let text =
                    |e: netlink::nft::Element| format!("{map} {:02x?} {:02x?}", e.key, e.data);
                elements.into_iter().map(text).collect::<Vec<_>>()
            };
            maps.iter().flat_map(of_map).collect()
        })
    }
}

/// Another host, joined to the lab's by a cable: 10.9.0.2 and fd09::2, the lab being .1 and ::1 and
/// its gateway. It must be dropped before the lab.
#[derive(Debug)]
pub struct Outside {
    holder: Child,
    near: u32,
}

impl Outside {
    /// Addresses of the lab's host on the cable.
    pub const LAB: [IpAddr; 2] = [
        IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, 1)),
        IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1)),
    ];
    /// Addresses of the other host.
    pub const OWN: [IpAddr; 2] = [
        IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, 2)),
        IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2)),
    ];

    /// Plugs it in.
    pub fn of(lab: &Lab) -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready && exec sleep infinity"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut ready = [0; 6];
        let output = holder.stdout.as_mut().expect("piped");
        output.read_exact(&mut ready).expect("the other host");
        let (near, far) = (lab.holder_pid(), holder.id());
        // Addresses without duplicate detection are usable at once.
        let script = |pid: u32, link: &str, n: u8| {
            format!(
                "nsenter -n -t {pid} sh -ec 'ip link set lo up; ip addr add 10.9.0.{n}/24 dev {link}; \
                 ip -6 addr add fd09::{n}/64 dev {link} nodad; ip link set {link} up'"
            )
        };
        let text = format!(
            "nsenter -n -t {near} ip link add uplink type veth peer name far netns {far}\n{}\n{}\n\
             nsenter -n -t {far} ip route add default via 10.9.0.1",
            script(near, "uplink", 1),
            script(far, "far", 2)
        );
        let made = Command::new("sh").args(["-ec", &text]).status();
        assert!(made.expect("sh").success(), "the cable");
        Self { holder, near }
    }

    /// Runs `work` on a thread there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        in_network_of(self.holder.id(), work)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let near = self.near.to_string();
        let _ = Command::new("nsenter")
            .args(["-n", "-t", &near, "ip", "link", "del", "uplink"])
            .status();
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Serves TCP on all addresses of the thread's network until the test ends: tells each client its
/// address, then sends back what it sends.
pub fn serve_tcp(port: u16) {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| TcpListener::bind(("0.0.0.0", port)))
        .expect("listen");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let peer = stream.peer_addr()?;
                writeln!(stream, "{}", peer.ip().to_canonical())?;
                std::io::copy(&mut stream.try_clone()?, &mut stream)?;
                stream.shutdown(Shutdown::Write)
            });
        }
    });
}

/// Serves UDP: answers each datagram with its sender's address.
pub fn serve_udp(port: u16) {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| UdpSocket::bind(("0.0.0.0", port)))
        .expect("bind");
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(peer.ip().to_canonical().to_string().as_bytes(), peer);
        }
    });
}

/// Asks such a server for the address that it sees, and has a word sent back.
///
/// # Errors
/// When it cannot be reached or says something else.
pub fn ask_tcp(to: (impl Into<IpAddr>, u16)) -> std::io::Result<IpAddr> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((to.0.into(), to.1)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"ping")?;
    stream.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let Some((address, "ping")) = text.split_once('\n') else {
        return Err(std::io::Error::other(format!("answer {text:?}")));
    };
    address.parse().map_err(std::io::Error::other)
}

/// The same by UDP; a datagram may be lost, so it is sent again.
///
/// # Errors
/// When nothing comes back.
pub fn ask_udp(to: (impl Into<IpAddr>, u16)) -> std::io::Result<IpAddr> {
    let to = SocketAddr::from((to.0.into(), to.1));
    let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(PATIENCE / 4))?;
    socket.connect(to)?;
    let mut buffer = [0; 64];
    let mut last = std::io::Error::from(std::io::ErrorKind::TimedOut);
    for _ in 0..4 {
        let answer = socket.send(b"hello").and_then(|_| socket.recv(&mut buffer));
        match answer {
            Ok(length) => {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                return text.parse().map_err(std::io::Error::other);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
