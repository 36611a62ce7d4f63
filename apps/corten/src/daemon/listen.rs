//! Opening the sockets that the API is served on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use rest::{Listener, Tls};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};

use super::settings::Listen;

/// First descriptor that systemd hands over (sd_listen_fds(3)).
const FIRST_FD: i32 = 3;

/// Open sockets.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) listeners: Vec<Listener>,
    /// Files to take away at the end.
    pub(crate) paths: Vec<PathBuf>,
}

/// Opens all of them.
///
/// # Errors
/// Naming the host that cannot be listened on, and why.
pub(crate) fn open(listen: &Listen) -> Result<Sockets> {
    let tls = listen
        .tls
        .as_ref()
        .map(|(cert, key, ca)| Tls::load(cert, key, ca.as_deref()))
        .transpose()?;
    let mut sockets = Sockets {
        listeners: Vec::new(),
        paths: Vec::new(),
    };
    for host in &listen.hosts {
        let named = || format!("failed to load listeners: {host}");
        let (scheme, rest) = host.split_once("://").unwrap_or(("tcp", host));
        match scheme {
            "unix" => {
                let path = if rest.is_empty() {
                    crate::cli::app::OWN_SOCKET
                } else {
                    rest
                };
                let path = PathBuf::from(path);
                sockets
                    .listeners
                    .push(Listener::Unix(unix(&path, listen).with_context(named)?));
                sockets.paths.push(path);
            }
            "tcp" => {
                if tls.is_none() && !listen.plain_tcp {
                    bail!(
                        "{host}: refusing to serve the API without TLS: whoever reaches it is root \
                         here. Give --tlsverify with --tlscacert, --tlscert and --tlskey, or \
                         --tls=false to serve it unprotected"
                    );
                }
                if tls.is_none() {
                    tracing::warn!(%host, "the API is served without encryption or authentication");
                }
                for socket in tcp(rest, tls.is_some()).with_context(named)? {
                    sockets.listeners.push(Listener::Tcp(socket, tls.clone()));
                }
            }
            "fd" => sockets
                .listeners
                .extend(activated(rest, tls.as_ref()).with_context(named)?),
            _ => bail!("invalid bind address (bad format): {host}"),
        }
    }
    Ok(sockets)
}

fn unix(path: &Path, listen: &Listen) -> Result<tokio::net::UnixListener> {
    if let Some(dir) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(dir)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("another daemon listens there");
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // Nobody else from the first moment on; the group gets its rights afterwards.
    let old = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = tokio::net::UnixListener::bind(path);
    rustix::process::umask(old);
    let socket = bound?;
    match group(&listen.group)? {
        Some(gid) => {
            std::os::unix::fs::chown(path, Some(0), Some(gid))?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        }
        None if listen.group_given => bail!("group {} not found", listen.group),
        None => {}
    }
    Ok(socket)
}

/// A group's number, by name or number.
fn group(name: &str) -> Result<Option<u32>> {
    if let Ok(gid) = name.parse() {
        return Ok(Some(gid));
    }
    let text = match std::fs::read_to_string("/etc/group") {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.context("/etc/group")?,
    };
    Ok(text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    }))
}

fn tcp(rest: &str, tls: bool) -> Result<Vec<tokio::net::TcpListener>> {
    let default = if tls { 2376 } else { 2375 };
    addresses(rest, default)?
        .into_iter()
        .map(|address| {
            let socket = std::net::TcpListener::bind(address)
                .with_context(|| format!("listen tcp {address}"))?;
            socket.set_nonblocking(true)?;
            Ok(tokio::net::TcpListener::from_std(socket)?)
        })
        .collect()
}

fn addresses(rest: &str, default: u16) -> Result<Vec<SocketAddr>> {
    let rest = rest.trim_end_matches('/');
    let invalid = || anyhow!("invalid bind address: {rest}");
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| invalid())?),
        _ => (rest, default),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok(match host {
        // dockerd's defaults: everywhere only when that was said.
        "" => vec![(Ipv4Addr::LOCALHOST, port).into()],
        "localhost" => vec![
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        ],
        host => vec![(host.parse::<IpAddr>().map_err(|_| invalid())?, port).into()],
    })
}

/// Sockets that systemd opened for us.
fn activated(rest: &str, tls: Option<&Tls>) -> Result<Vec<Listener>> {
    if !matches!(rest, "" | "*") {
        bail!(
            "fd://{rest}: only fd:// is supported, which takes all sockets that were handed over"
        );
    }
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        text.parse::<i32>().ok()
    };
    let ours = i32::try_from(std::process::id()).ok();
    if number("LISTEN_PID") != ours || ours.is_none() {
        bail!(
            "no sockets found via socket activation: make sure the service was started by systemd"
        );
    }
    let count = number("LISTEN_FDS").unwrap_or(0);
    let me = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    (FIRST_FD..FIRST_FD.saturating_add(count))
        .map(|fd| {
            // A descriptor of our own: the number is somebody's word only.
            let fd = rustix::process::pidfd_getfd(&me, fd, PidfdGetfdFlags::empty())
                .with_context(|| format!("descriptor {fd} of LISTEN_FDS"))?;
            listener_of(fd, tls)
        })
        .collect()
}

fn listener_of(fd: OwnedFd, tls: Option<&Tls>) -> Result<Listener> {
    let address = rustix::net::getsockname(&fd)?;
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(
        if address.address_family() == rustix::net::AddressFamily::UNIX {
            Listener::Unix(tokio::net::UnixListener::from_std(fd.into())?)
        } else {
            Listener::Tcp(tokio::net::TcpListener::from_std(fd.into())?, tls.cloned())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::addresses;

    #[test]
    fn bind_addresses() {
        let one = |text: &str| addresses(text, 2375).map(|list| list[0].to_string());
        assert_eq!(one("").expect("valid"), "127.0.0.1:2375");
        assert_eq!(one(":1").expect("valid"), "127.0.0.1:1");
        assert_eq!(one("0.0.0.0:2").expect("valid"), "0.0.0.0:2");
        assert_eq!(one("[::1]").expect("valid"), "[::1]:2375");
        assert_eq!(one("[::]:3/").expect("valid"), "[::]:3");
        assert!(one("host:port").is_err());
    }
}
