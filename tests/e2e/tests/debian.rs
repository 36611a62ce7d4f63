//! A Debian system made by mmdebstrap, imported, pushed to Debian's registry and pulled back: real
//! programs of a distribution run in it, a shell at a terminal, and a server behind a port.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::registry::Registry;
use e2e::{Lab, Options, root, wait_for};

const IMAGE: &str = "127.0.0.1:5000/test/debian:made";

#[test]
fn a_distribution_goes_through_a_registry_and_runs() {
    if !root() {
        return;
    }
    let lab = Lab::with(Options {
        no_image: true,
        ..Options::default()
    });
    let _registry = Registry::start(&lab);
    let tar = system();
    lab.ok(&["import", &tar.display().to_string(), IMAGE]);
    let before = tree(&lab);
    lab.ok(&["push", IMAGE]);
    lab.ok(&["rmi", IMAGE]);
    assert_eq!(lab.ok(&["images", "-q", IMAGE]), "");
    lab.ok(&["pull", IMAGE]);
    let after = tree(&lab);
    let differs = before.lines().zip(after.lines()).find(|(a, b)| a != b);
    assert_eq!(differs, None, "what came back is what went");
    assert_eq!(before.len(), after.len());
    packages(&lab);
    languages(&lab);
    shell(&lab);
    server(&lab);
}

/// Every file's kind, mode, owner, size, link target, time and content; but for what the engine
/// makes or mounts in /dev and /etc.
fn tree(lab: &Lab) -> String {
    let script = "cd / && find bin boot etc home lib* media mnt opt root sbin srv usr var -xdev \
                  -not -path etc -not -path 'etc/host*' -not -path etc/resolv.conf \
                  -not -path etc/mtab -printf '%p %y %m %U:%G %s %l %T@\\n' | sort; \
                  find usr etc var -xdev -type f -not -path 'etc/host*' \
                  -not -path etc/resolv.conf -print0 | sort -z | xargs -0 cat | sha256sum";
    lab.ok(&["run", "--rm", IMAGE, "bash", "-c", script])
}

/// apt and dpkg: users changed to, locks, hard links, renames, fsync, chroots of their own.
fn packages(lab: &Lab) {
    let script = r#"
        set -eu
        mkdir -p /build/DEBIAN /build/usr/bin /repository
        printf '#!/bin/sh\necho installed and run\n' > /build/usr/bin/weathering
        chmod 755 /build/usr/bin/weathering
        printf 'Package: weathering\nVersion: 1.0\nArchitecture: all\nMaintainer: A <a@b>\nDepends: bash\nDescription: a test\n' \
            > /build/DEBIAN/control
        dpkg-deb --root-owner-group -b /build /repository/weathering.deb
        cd /repository
        { dpkg-deb -f weathering.deb; echo Filename: ./weathering.deb
          echo Size: "$(stat -c %s weathering.deb)"
          echo SHA256: "$(sha256sum weathering.deb | cut -d' ' -f1)"; } > Packages
        rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
        echo 'deb [trusted=yes] file:/repository ./' > /etc/apt/sources.list
        apt-get update
        apt-get install -y weathering
        weathering
        dpkg -V weathering
        apt-get purge -y weathering
        test ! -e /usr/bin/weathering
        useradd --create-home somebody
        su somebody -c 'id -un; pwd; cd && touch own && stat -c %U own'
        apt-get check && dpkg --audit
    "#;
    let ran = lab.docker(&["run", "--rm", IMAGE, "bash", "-c", script]);
    assert_eq!(ran.code, 0, "{ran:?}\n{}", lab.daemon_log());
    for text in ["installed and run", "somebody\n/repository\nsomebody\n"] {
        assert!(ran.out.contains(text), "{text:?} is not in {ran:?}");
    }
}

/// Programs with many files of their own, a C library's locales and name services.
fn languages(lab: &Lab) {
    let perl = r#"use POSIX; my $pid = fork // die; exit 7 unless $pid; waitpid $pid, 0;
                  print join(" ", $? >> 8, (getpwuid $<)[0], (POSIX::uname())[1]), "\n";"#;
    let out = lab.ok(&["run", "--rm", "-h", "plate", IMAGE, "perl", "-e", perl]);
    assert_eq!(out, "7 root plate");
    let out = lab.ok(&[
        "run", "--rm", "-u", "nobody", IMAGE, "bash", "-c",
        "id -un; getent hosts localhost | wc -l; seq 100000 | sort -R --parallel=4 | sort -n | tail -1",
    ]);
    assert_eq!(out, "nobody\n1\n100000");
}

/// bash at a terminal: line editing, job control, the window's size, the exit code.
fn shell(lab: &Lab) {
    let mut terminal = lab.terminal(&[
        "run", "--rm", "-it", "-e", "PS1=$ ", IMAGE, "bash", "--norc",
    ]);
    terminal.see("$ ");
    terminal.type_in(b"tty; stty size; echo $((6*7))x\r");
    terminal.see("/dev/pts/0");
    terminal.see("24 80");
    terminal.see("42x");
    // Typed, taken back and corrected with readline's keys.
    terminal.type_in(b"cho b\x01e\x05ack\r");
    terminal.see("\rback\r\n");
    // It runs when it speaks: a key pressed before would be readline's.
    terminal.type_in(b"perl -e '$|=1; print uc qq(runs\\n); sleep 1000'\r");
    terminal.see("RUNS");
    terminal.type_in(&[0x1a]);
    terminal.see("Stopped");
    terminal.type_in(b"perl -e '$|=1; print uc qq(other\\n); sleep 1000'\r");
    terminal.see("OTHER");
    terminal.type_in(&[0x03]);
    terminal.type_in(b"echo code $?\r");
    terminal.see("\rcode 130\r\n");
    terminal.resize(30, 100);
    // The size takes its own way through the client and the API: the shell waits to hear of it.
    terminal.type_in(b"until stty size | grep '^30 100'; do read -t 0.05; done\r");
    terminal.see("\r30 100\r\n");
    // The stopped job ends with the container.
    terminal.type_in(b"disown -a\r");
    terminal.type_in(b"exit 3\r");
    assert_eq!(terminal.end(), 3);
}

/// A server behind a published port.
fn server(lab: &Lab) {
    let perl = r#"use IO::Socket::INET;
        my $port = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1) or die $!;
        while (my $peer = $port->accept) {
            my $line = <$peer>;
            while (my $header = <$peer>) { last if $header eq "\r\n" }
            print $peer "HTTP/1.0 200 OK\r\n\r\nserved $line"; close $peer;
        }"#;
    let id = lab.ok(&[
        "run",
        "-d",
        "-p",
        "127.0.0.1:8080:80",
        IMAGE,
        "perl",
        "-e",
        perl,
    ]);
    let address: SocketAddr = "127.0.0.1:8080".parse().expect("an address");
    let mut answer = String::new();
    let served = wait_for(Duration::from_secs(20), || {
        answer = lab.in_network(|| ask(address).unwrap_or_default());
        !answer.is_empty()
    });
    assert!(served, "nobody answers: {}", lab.ok(&["logs", &id]));
    assert!(
        answer.ends_with("served GET /rust HTTP/1.0\r\n"),
        "{answer:?}"
    );
    lab.ok(&["rm", "-f", &id]);
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /rust HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A tar of the host's own release of Debian, made once for a build directory.
fn system() -> PathBuf {
    let tar = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian.tar");
    if tar.exists() {
        return tar;
    }
    let release = std::fs::read_to_string("/etc/os-release").expect("os-release");
    let suite = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .expect("a release of Debian");
    let sources = [
        "/etc/apt/sources.list.d/debian.sources",
        "/etc/apt/sources.list",
    ];
    let sources = sources
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("apt's sources");
    let part = tar.with_extension("part.tar");
    let made = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=apt", suite])
        .arg(&part)
        .arg(sources)
        .stdin(Stdio::null())
        .output()
        .expect("mmdebstrap, which `cargo xtask test` installs");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    std::fs::rename(&part, &tar).expect("debian.tar");
    tar
}
