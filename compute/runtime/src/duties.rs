//! What the parent does for a child that waits: ids, devices, groups, hooks, seccomp agents.
//!
//! A plain container has none of it, and its parent only listens for the end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci::runtime::{ContainerProcessState, Spec, State};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::Context;
use crate::hooks::{self, Stage};
use crate::plan::Plan;
use crate::{Agent, Build, Error, Filter, Name, Result, Started, netdev, rdt, userns};

/// For one process that is being made.
#[derive(Debug, Default)]
pub(crate) struct Duties<'a> {
    whole: Option<&'a Spec>,
    spec: Option<(&'a Spec, Name<'a>)>,
    state: Option<State>,
    agent: Option<&'a Agent>,
}

impl<'a> Duties<'a> {
    pub(crate) fn of_build(
        spec: &'a Spec,
        name: Option<Name<'a>>,
        filter: Option<&'a Filter>,
    ) -> Result<Self> {
        let mut state = None;
        if let Some(agent) = filter.and_then(|f| f.agent.as_ref()) {
            let name = name.ok_or_else(|| nameless(agent))?;
            // The pid is known once there is a process.
            state = Some(hooks::state(spec, &name, "creating", 0));
        }
        Ok(Self {
            whole: Some(spec),
            spec: name.map(|name| (spec, name)),
            state,
            agent: filter.and_then(|f| f.agent.as_ref()),
        })
    }

    pub(crate) fn of_exec(filter: Option<&'a Filter>, state: Option<&State>) -> Result<Self> {
        let agent = filter.and_then(|f| f.agent.as_ref());
        match (agent, state) {
            (Some(agent), None) => Err(nameless(agent)),
            (None, _) => Ok(Self::default()),
            (Some(_), Some(state)) => Ok(Self {
                whole: None,
                spec: None,
                state: Some(state.clone()),
                agent,
            }),
        }
    }

    /// While the child has done nothing yet.
    pub(crate) fn before(&self, build: &Build<'_>, plan: &Plan, child: &Started) -> Result<()> {
        let Some(linux) = &build.spec.linux else {
            return Ok(());
        };
        if plan.user {
            userns::map(linux, child.pid)?;
        }
        let name = self.spec.as_ref().map(|(_, name)| name);
        rdt::apply(linux, name, child.pid)?;
        if linux.net_devices.is_empty() {
            return Ok(());
        }
        match plan.joined(libc::CLONE_NEWNET) {
            Some(netns) => netdev::move_all(linux, netns.as_fd()),
            None => {
                let path = format!("/proc/{}/ns/net", child.pid);
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let netns = rustix::fs::open(&path, flags, Mode::empty())
                    .context(|| format!("open {path}"))?;
                netdev::move_all(linux, netns.as_fd())
            }
        }
    }

    /// While the child has everything mounted and is about to change its root.
    pub(crate) fn hooks(&self, pid: u32) -> Result<()> {
        let Some((spec, name)) = &self.spec else {
            return Err(Error::internal("hooks without a name to tell them"));
        };
        hooks::run(Stage::Prestart, spec, name, pid)?;
        hooks::run(Stage::CreateRuntime, spec, name, pid)
    }

    /// While the child waits with a tree of its own root that it may not map the ids of.
    pub(crate) fn source(
        &self,
        number: usize,
        tree: &OwnedFd,
        plan: Option<&Plan>,
        pid: u32,
    ) -> Result<()> {
        let (Some(plan), Some(spec)) = (plan, self.whole) else {
            return Err(Error::internal("a tree to be mapped without a plan"));
        };
        let mounts = spec.mounts.get(number).zip(plan.options.get(number));
        let (Some((mount, options)), Some(linux)) = (mounts, &spec.linux) else {
            return Err(Error::internal("a tree of a mount that there is not"));
        };
        let joined = plan.user_join.as_ref();
        crate::sources::map_inside(linux, joined, mount, options, pid, tree)
            .map_err(|problem| problem.about(mount))
    }

    /// While the child waits with its filter loaded: the listener goes to the agent
    /// (config-linux.md#containerprocessstate).
    pub(crate) fn listener(&self, child: &Started, number: i32) -> Result<()> {
        let (Some(agent), Some(state)) = (self.agent, self.state.as_ref()) else {
            return Err(Error::internal("a seccomp listener without an agent"));
        };
        // Fetched, not sent: the filter may be about sending.
        let flags = rustix::process::PidfdGetfdFlags::empty();
        let listener = rustix::process::pidfd_getfd(&child.pidfd, number, flags)
            .context(|| "fetch seccomp listener")?;
        let pid = i32::try_from(child.pid).unwrap_or_default();
        let mut state = state.clone();
        if state.pid == 0 {
            state.pid = pid;
        }
        let message = ContainerProcessState {
            oci_version: state.oci_version.clone(),
            fds: vec!["seccompFd".into()],
            pid,
            metadata: agent.metadata.clone(),
            state,
        };
        let message = serde_json::to_vec(&message)
            .map_err(|e| Error::internal(format!("seccomp agent: {e}")))?;
        tell(&agent.socket, &message, listener.as_fd())
    }
}

/// One state, one connection; descriptors go with the first part.
fn tell(socket: &str, message: &[u8], listener: BorrowedFd<'_>) -> Result<()> {
    let key = "linux.seccomp.listenerPath";
    let flags = SocketFlags::CLOEXEC;
    let stream = (|| {
        let address = SocketAddrUnix::new(socket)?;
        let stream =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&stream, &address)?;
        Ok(stream)
    })()
    .context(|| format!("{key}: failed to connect with seccomp agent {socket:?}"))?;
    let send = |bytes: &[u8], fds: &[BorrowedFd<'_>]| {
        sys::fdpass::send(stream.as_fd(), bytes, fds)
            .context(|| format!("{key}: send to seccomp agent {socket:?}"))
    };
    let mut sent = send(message, &[listener])?;
    while let Some(rest) = message.get(sent..).filter(|r| !r.is_empty()) {
        sent += send(rest, &[])?;
    }
    Ok(())
}

fn nameless(agent: &Agent) -> Error {
    Error::unsupported(format!(
        "linux.seccomp.listenerPath: there is no container name to tell {:?}",
        agent.socket
    ))
}
