//! The keeper's program: in memory, sealed, and one of it running ahead.
//!
//! A keeper is spawned by posix_spawn (vfork semantics: the daemon's page tables are not copied)
//! from the descriptor, so no file on disk is needed or can be put in its place.

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use compute::Result;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::{Shared, internal};

static PROGRAM: &[u8] = include_bytes!(env!("KEEPER_PROGRAM"));

/// The program and a keeper that waits for its Launch.
#[derive(Debug)]
pub(crate) struct Program {
    image: Arc<OwnedFd>,
    spare: Mutex<Option<Keeper>>,
}

/// A keeper process that knows nothing yet. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Keeper {
    // Option for Drop only: closed before the wait.
    socket: Option<OwnedFd>,
    child: Option<Child>,
}

impl Program {
    pub(crate) fn new() -> Result<Self> {
        let image = sys::memfd::sealed("keeper", PROGRAM)
            .map_err(|e| internal(format!("keeper program in memory: {e}")))?;
        Ok(Self {
            image: Arc::new(image),
            spare: Mutex::default(),
        })
    }

    /// The program, to be pid 1 of a container.
    pub(crate) fn init(&self) -> Result<OwnedFd> {
        self.image.try_clone().map_err(internal)
    }

    /// A keeper to launch in, the spare one where there is one.
    pub(crate) async fn keeper(&self) -> Result<Keeper> {
        let spare = self.slot().take();
        if let Some(keeper) = spare {
            return Ok(keeper);
        }
        let image = Arc::clone(&self.image);
        crate::blocking(move || spawn(&image)).await
    }

    /// Has a keeper ready for the next launch.
    pub(crate) fn prepare_spare(shared: &Arc<Shared>) {
        let shared = Arc::downgrade(shared);
        tokio::task::spawn_blocking(move || {
            let Some(shared) = shared.upgrade() else {
                return;
            };
            let program = &shared.program;
            if program.slot().is_some() {
                return;
            }
            // A failure is told by the launch that finds no spare.
            if let Ok(keeper) = spawn(&program.image) {
                let surplus = program.slot().replace(keeper);
                drop(surplus);
            }
        });
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Keeper>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spawn(image: &OwnedFd) -> Result<Keeper> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|e| internal(format!("keeper socket: {e}")))?;
    let child = Command::new(format!("/proc/self/fd/{}", image.as_raw_fd()))
        .arg("keep")
        .env_clear()
        .current_dir("/")
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| internal(format!("start keeper: {e}")))?;
    Ok(Keeper {
        socket: Some(ours),
        child: Some(child),
    })
}

impl Keeper {
    /// Its socket, and itself to be reaped.
    pub(crate) fn into_parts(mut self) -> (Option<OwnedFd>, Option<Child>) {
        (self.socket.take(), self.child.take())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.socket.take());
        if let Some(mut child) = self.child.take() {
            // It ends at once, its socket being closed.
            let _ = child.wait();
        }
    }
}
