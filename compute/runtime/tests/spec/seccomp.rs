//! Filters in real containers; what a filter decides is tested where it is compiled.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use oci::runtime::*;
use runtime::*;

use crate::support::bed::{Bed, Test, joining, plain};
use crate::support::{linux, process, spec};

pub const TESTS: &[Test] = &[
    ("seccomp_agent_decides", agent_decides),
    ("seccomp_agent_of_exec", agent_of_exec),
    ("seccomp_agent_is_not_there", agent_is_not_there),
    ("seccomp_filter_may_be_narrow", filter_may_be_narrow),
];

fn rules(names: &[&str], action: &str) -> SeccompRule {
    SeccompRule {
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        action: action.into(),
        ..Default::default()
    }
}

/// Answers every notification with errno 30 (EROFS), until the other side is gone.
fn deny_all(listener: &OwnedFd) -> usize {
    let mut seen = 0;
    loop {
        let mut fds = [rustix::event::PollFd::new(
            listener,
            rustix::event::PollFlags::IN,
        )];
        rustix::event::poll(&mut fds, None).unwrap();
        if !fds[0].revents().contains(rustix::event::PollFlags::IN) {
            return seen;
        }
        let answered = sys::seccomp::receive(listener.as_fd())
            .and_then(|id| sys::seccomp::answer(listener.as_fd(), id, 30));
        seen += usize::from(answered.is_ok());
    }
}

fn agent_decides(bed: &Bed) {
    for no_new_privileges in [false, true] {
        let path = bed.lab.dir.join(format!("agent{no_new_privileges}"));
        let socket = UnixListener::bind(&path).unwrap();
        let mut s = spec(&["sh", "-c", "busybox mkdir /tmp/d; echo done"], true);
        process(&mut s).no_new_privileges = no_new_privileges;
        s.oci_version = "1.3.0".into();
        linux(&mut s).seccomp = Some(Seccomp {
            default_action: "SCMP_ACT_ALLOW".into(),
            listener_path: path.to_string_lossy().into_owned(),
            listener_metadata: "some data".into(),
            flags: Some(vec!["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV".into()]),
            syscalls: vec![rules(&["mkdir", "mkdirat"], "SCMP_ACT_NOTIFY")],
            ..Default::default()
        });
        let cgroup = bed.cgroup();
        let rootfs = bed.lab.rootfs();
        let null = crate::support::bed::null();
        let (r, w) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let bundle = bed.lab.dir.clone();
        let name = Name {
            id: "notified",
            bundle: &bundle,
        };
        let started = launch_named(
            &plain(&s, &rootfs, &cgroup, [null.as_fd(), w.as_fd(), w.as_fd()]),
            &name,
        )
        .unwrap();
        drop(w);
        let (stream, _) = socket.accept().unwrap();
        let mut buffer = vec![0; 65536];
        let mut got = sys::fdpass::recv(stream.as_fd(), &mut buffer, 1).unwrap();
        let mut text = String::from_utf8(buffer[..got.len].to_vec()).unwrap();
        (&stream).read_to_string(&mut text).unwrap();
        let message: ContainerProcessState = serde_json::from_str(&text).unwrap();
        assert_eq!(message.fds, ["seccompFd"]);
        assert_eq!(message.metadata, "some data");
        assert_eq!(message.pid as u32, started.pid);
        assert_eq!(message.state.pid, message.pid);
        assert_eq!(message.state.id, "notified");
        assert_eq!(message.state.status, "creating");
        assert_eq!(message.oci_version, "1.3.0");
        let listener = got.fds.pop().unwrap();
        assert!(listener.as_raw_fd() > 2);
        assert!(deny_all(&listener) >= 1);
        let text = crate::support::bed::read_all(r);
        assert_eq!(
            text,
            "mkdir: can't create directory '/tmp/d': Read-only file system\ndone\n"
        );
        assert_eq!(crate::support::bed::wait(started.pidfd.as_fd()), 0);
        cgroup.remove().unwrap();
    }
}

fn agent_is_not_there(bed: &Bed) {
    let mut s = spec(&["true"], true);
    linux(&mut s).seccomp = Some(Seccomp {
        default_action: "SCMP_ACT_ALLOW".into(),
        listener_path: "/no/such/socket".into(),
        syscalls: vec![rules(&["mkdir"], "SCMP_ACT_NOTIFY")],
        ..Default::default()
    });
    let name = Name {
        id: "x",
        bundle: &bed.lab.dir,
    };
    let error = bed.run_with(&s, None, Some(&name)).unwrap_err();
    assert_eq!(
        error.message,
        "linux.seccomp.listenerPath: failed to connect with seccomp agent \"/no/such/socket\": no \
         such file or directory"
    );
    assert_eq!(bed.run(&s).unwrap_err().kind, Kind::Unsupported);
}

/// Sockets and most else denied: the way to the program takes none of it.
fn filter_may_be_narrow(bed: &Bed) {
    for no_new_privileges in [false, true] {
        let mut s = spec(&["true"], true);
        process(&mut s).no_new_privileges = no_new_privileges;
        linux(&mut s).seccomp = Some(Seccomp {
            default_action: "SCMP_ACT_ALLOW".into(),
            syscalls: vec![rules(
                &[
                    "sendmsg", "sendto", "recvmsg", "recvfrom", "socket", "connect", "ioctl",
                ],
                "SCMP_ACT_KILL_PROCESS",
            )],
            ..Default::default()
        });
        assert_eq!(bed.run(&s).unwrap(), (0, String::new()));
    }
}

/// A process that joins has a filter of its own, and its agent is told of the container.
fn agent_of_exec(bed: &Bed) {
    let path = bed.lab.dir.join("agent-exec");
    let socket = UnixListener::bind(&path).unwrap();
    let s = spec(&["sleep", "600"], true);
    let profile = Seccomp {
        default_action: "SCMP_ACT_ALLOW".into(),
        listener_path: path.to_string_lossy().into_owned(),
        syscalls: vec![rules(&["mkdir", "mkdirat"], "SCMP_ACT_NOTIFY")],
        ..Default::default()
    };
    let filter = Filter::compile(&profile).unwrap();
    let cgroup = bed.cgroup();
    let rootfs = bed.lab.rootfs();
    let null = crate::support::bed::null();
    let started = launch(&plain(&s, &rootfs, &cgroup, [null.as_fd(); 3])).unwrap();
    let mut one = s.process.clone().unwrap();
    one.args = ["busybox", "mkdir", "/tmp/e"].map(str::to_owned).to_vec();
    let with = |state: Option<&State>| {
        let exec = Exec {
            seccomp: Some(&filter),
            ..joining(started.pidfd.as_fd(), &one, &cgroup, [null.as_fd(); 3])
        };
        match state {
            Some(state) => exec_named(&exec, state),
            None => runtime::exec(&exec),
        }
    };
    assert_eq!(with(None).unwrap_err().kind, Kind::Unsupported);
    let state = State {
        id: "running".into(),
        status: "running".into(),
        pid: started.pid as i32,
        ..Default::default()
    };
    let joined = with(Some(&state)).unwrap();
    let (stream, _) = socket.accept().unwrap();
    let mut buffer = vec![0; 65536];
    let mut got = sys::fdpass::recv(stream.as_fd(), &mut buffer, 1).unwrap();
    let message: ContainerProcessState = serde_json::from_slice(&buffer[..got.len]).unwrap();
    assert_eq!(message.pid as u32, joined.pid);
    assert_eq!(message.state, state);
    assert_eq!(deny_all(&got.fds.pop().unwrap()), 1);
    assert_eq!(crate::support::bed::wait(joined.pidfd.as_fd()), 1);
    sys::process::pidfd_signal(started.pidfd.as_fd(), 9).unwrap();
    crate::support::bed::wait(started.pidfd.as_fd());
    cgroup.remove().unwrap();
}
