//! Ports as `ps` shows them: neighbouring numbers as ranges.

use dockerapi::Port;

/// A run of neighbouring ports of one address and protocol.
struct Group<'a> {
    ip: &'a str,
    kind: &'a str,
    first: u16,
    last: u16,
}

impl Group<'_> {
    fn text(&self) -> String {
        let range = if self.first == self.last {
            self.first.to_string()
        } else {
            format!("{}-{}", self.first, self.last)
        };
        match self.ip {
            "" => format!("{range}/{}", self.kind),
            ip => format!("{}->{range}/{}", join(ip, &range), self.kind),
        }
    }
}

/// All ports of a container: runs first, then those that are published under another number.
pub(crate) fn display(ports: &[Port]) -> String {
    let mut sorted: Vec<&Port> = ports.iter().collect();
    sorted.sort_by_key(|port| {
        (
            port.private_port,
            address(port),
            port.public_port,
            &port.kind,
        )
    });
    let mut done = Vec::new();
    let mut moved = Vec::new();
    let mut open: Vec<Group<'_>> = Vec::new();
    for port in sorted {
        let current = port.private_port;
        if !port.ip.is_empty() && port.public_port != Some(current) {
            let host = join(&port.ip, &port.public_port.unwrap_or(0).to_string());
            moved.push(format!("{host}->{current}/{}", port.kind));
            continue;
        }
        let group = open
            .iter_mut()
            .find(|group| group.ip == port.ip && group.kind == port.kind);
        match group {
            None => open.push(Group {
                ip: &port.ip,
                kind: &port.kind,
                first: current,
                last: current,
            }),
            Some(group) if group.last.checked_add(1) == Some(current) => group.last = current,
            Some(group) => {
                done.push(group.text());
                group.first = current;
                group.last = current;
            }
        }
    }
    done.extend(open.iter().map(Group::text));
    done.extend(moved);
    done.join(", ")
}

/// IPv4 sorts before IPv6, both by number.
fn address(port: &Port) -> Option<std::net::IpAddr> {
    port.ip.parse().ok()
}

fn join(ip: &str, port: &str) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::display;
    use dockerapi::Port;

    fn port(ip: &str, public: u16, private: u16) -> Port {
        Port {
            ip: ip.into(),
            private_port: private,
            public_port: (public != 0).then_some(public),
            kind: "tcp".into(),
        }
    }

    #[test]
    fn ranges() {
        let ports = [
            port("0.0.0.0", 80, 80),
            port("0.0.0.0", 81, 81),
            port("::", 80, 80),
            port("0.0.0.0", 9000, 82),
            port("", 0, 5),
        ];
        assert_eq!(
            display(&ports),
            "5/tcp, 0.0.0.0:80-81->80-81/tcp, [::]:80->80/tcp, 0.0.0.0:9000->82/tcp"
        );
    }
}
