//! Finding a live engine, and starting one in the background where none runs.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::app::{DOCKER_SOCKET, OWN_SOCKET, READY_VARIABLE};
use super::failure::{Failure, Outcome, os_text};
use super::out;

/// The socket of a live engine. Called as docker, docker's socket comes first; otherwise our own.
///
/// # Errors
/// None runs and none could be started.
pub(crate) async fn find_or_start(program: &str) -> Outcome<&'static str> {
    let order = if program == "docker" {
        [DOCKER_SOCKET, OWN_SOCKET]
    } else {
        [OWN_SOCKET, DOCKER_SOCKET]
    };
    if let Some(live) = order.into_iter().find(|socket| is_live(socket)) {
        return Ok(live);
    }
    if !rustix::process::geteuid().is_root() {
        // As docker, docker's words alone: scripts look for them.
        let hint = if program == "docker" {
            ""
        } else {
            "\nOnly root can start one: run this command, or \"corten daemon\", as root."
        };
        return Err(Failure::new(format!(
            "Cannot connect to the Docker daemon at unix://{}. Is the docker daemon running?{hint}",
            order[0]
        )));
    }
    start()?;
    Ok(OWN_SOCKET)
}

/// Somebody listens, if only for others: then the request's own failure says that.
fn is_live(socket: &str) -> bool {
    match UnixStream::connect(socket) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

/// In the child: a session of its own, so that the terminal's end does not end the engine.
pub(crate) fn detach_if_spawned() {
    if std::env::var_os(READY_VARIABLE).is_some() {
        // Fails only for a session leader, which is what is wanted.
        let _ = rustix::process::setsid();
    }
}

fn start() -> Outcome {
    let dir = Path::new(OWN_SOCKET).parent().unwrap_or(Path::new("/run"));
    let failed = |what: &str, error: &std::io::Error| {
        Failure::new(format!(
            "could not start the engine: {what}: {}",
            os_text(error)
        ))
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(dir)
        .map_err(|error| failed(&dir.display().to_string(), &error))?;
    // One start at a time; who waited finds the engine running.
    let lock_path = dir.join("start.lock");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|error| failed(&lock_path.display().to_string(), &error))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|errno| failed(&lock_path.display().to_string(), &errno.into()))?;
    if is_live(OWN_SOCKET) {
        return Ok(());
    }
    let log = dir.join("daemon.log");
    spawn(&log).map_err(|(what, error)| failed(&what, &error))??;
    out::error(&format!(
        "corten: started the engine in the background (socket {OWN_SOCKET}, log {})",
        log.display()
    ));
    Ok(())
}

type Spawned = Result<Outcome, (String, std::io::Error)>;

fn spawn(log_path: &Path) -> Spawned {
    let named = |error| (log_path.display().to_string(), error);
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(log_path)
        .map_err(named)?;
    let log_too = log.try_clone().map_err(named)?;
    // Without close-on-exec: the daemon inherits the writing end.
    let (ready, theirs) =
        rustix::pipe::pipe().map_err(|errno| ("pipe".to_owned(), errno.into()))?;
    rustix::io::fcntl_setfd(&ready, rustix::io::FdFlags::CLOEXEC)
        .map_err(|errno| ("pipe".to_owned(), errno.into()))?;
    let child = Command::new("/proc/self/exe")
        .arg0("corten")
        .arg("daemon")
        .current_dir("/")
        .env(READY_VARIABLE, theirs.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too)
        .spawn()
        .map_err(|error| ("/proc/self/exe".to_owned(), error))?;
    // It is on its own from here.
    drop(child);
    drop(theirs);
    let mut ready = File::from(ready);
    let mut first = [0u8];
    // The daemon may keep the descriptor: its first byte decides.
    if matches!(ready.read(&mut first), Ok(1)) && first == *b"1" {
        return Ok(Ok(()));
    }
    let mut answer = String::new();
    if first[0] != 0 {
        answer.push(char::from(first[0]));
    }
    let read = ready.take(64 << 10).read_to_string(&mut answer);
    Ok(match (read, answer.as_str()) {
        (Ok(_), "") => Err(Failure::new(format!(
            "could not start the engine: it ended before it was ready; see {}",
            log_path.display()
        ))),
        (Ok(_), why) => Err(Failure::new(format!(
            "could not start the engine: {}",
            why.trim()
        ))),
        (Err(error), _) => Err(Failure::new(format!(
            "could not start the engine: {}",
            os_text(&error)
        ))),
    })
}
