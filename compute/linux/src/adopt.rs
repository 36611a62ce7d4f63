//! Finding a container that an earlier daemon launched.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use compute::{Adopted, Error, Kind, Result, Running};
use keeper_protocol::{Frame, Reply, Request, directory, system_time};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::containers::{ExecEntry, Link, Process, lock};
use crate::{Shared, blocking, connection, internal, release};

/// A keeper that does not answer for so long is stopped or stuck.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn adopt(shared: &Arc<Shared>, id: &str) -> Result<Adopted> {
    crate::launch::check_id(id)?;
    if shared.containers.find(id).is_some() {
        let message = format!("container {id} is adopted already");
        return Err(Error::new(Kind::Conflict, message));
    }
    let dir = directory::of(&shared.config.run_dir, id);
    if let Some(running) = connect(shared, id, &dir).await? {
        return Ok(Adopted::Running(running));
    }
    // Looked at after the keeper did not answer: it writes the file before it stops listening.
    if let Ok(text) = std::fs::read(dir.join(directory::EXIT)) {
        let exit = serde_json::from_slice(&text)
            .map_err(|e| internal(format!("exit file of container {id}: {e}")))?;
        return Ok(Adopted::Exited(connection::from_exit(exit)));
    }
    let (own, cgroup) = (Arc::clone(shared), cgroup_path(&dir));
    blocking(move || release::kill_cgroup(&own, &cgroup)).await?;
    Ok(Adopted::Gone)
}

/// The recorded cgroup path; empty when there is none.
pub(crate) fn cgroup_path(dir: &Path) -> String {
    std::fs::read_to_string(dir.join(directory::CGROUP)).unwrap_or_default()
}

/// `None` when no keeper answers.
async fn connect(shared: &Arc<Shared>, id: &str, dir: &Path) -> Result<Option<Running>> {
    let Ok(socket) = open_socket(dir) else {
        return Ok(None);
    };
    let link = Link::new(id, &cgroup_path(dir), dir.join(directory::RUNTIME).exists());
    let connection = connection::start(shared, link, socket, None)?;
    let handle = connection.handle;
    let call = handle.call(Frame::new(Request::Adopt));
    let mut answer = match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if error.kind == Kind::NotRunning => return Ok(None),
        Ok(Err(error)) => return Err(error),
        Err(_) => {
            return Err(internal(format!(
                "the keeper of container {id} does not answer"
            )));
        }
    };
    let message = std::mem::replace(&mut answer.message, Reply::Done);
    let Reply::State {
        pid,
        started_at,
        execs,
        version,
    } = message
    else {
        return Err(internal("the keeper gave another answer"));
    };
    let _ = handle.link.version.set(version);
    let pidfd = answer.take_fd().map_err(internal)?;
    let _ = handle.link.first.set(Process { pid, pidfd });
    for exec in execs {
        let pidfd = answer.take_fd().map_err(internal)?;
        let process = Some(Process {
            pid: exec.pid,
            pidfd,
        });
        let entry = ExecEntry {
            process,
            exit: None,
        };
        lock(&handle.link.execs).insert(exec.exec_id, entry);
    }
    shared.containers.insert(Arc::clone(&handle));
    if *handle.link.ended.borrow() {
        shared.containers.remove(&handle.link);
    }
    Ok(Some(Running {
        pid,
        started_at: system_time(started_at),
        // Unknown of one that ends just now.
        paused: is_frozen(shared, dir).await.unwrap_or(false),
        notices: connection.notices,
    }))
}

/// The kernel knows it best: a daemon may have been killed before it wrote what it did.
async fn is_frozen(shared: &Arc<Shared>, dir: &Path) -> Result<bool> {
    let (shared, path) = (Arc::clone(shared), cgroup_path(dir));
    blocking(move || match release::open(&shared, &path)? {
        Some(cgroup) => cgroup.frozen().map_err(internal),
        None => Ok(false),
    })
    .await
}

fn open_socket(dir: &Path) -> std::io::Result<OwnedFd> {
    let dir = File::open(dir)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    // By descriptor, as an address holds 107 bytes only.
    let path = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), directory::SOCKET);
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}
