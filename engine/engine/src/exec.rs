//! Exec instances: made, started once, inspected for a while after their end.

mod probe;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use compute::{AttachEnd, Attachment, Identity};
use dockerapi::{ExecCreate, ExecInspect, ExecProcessConfig, ExecStart};
use oci::runtime::{ConsoleSize, Process, User};
use tokio::sync::oneshot;

use crate::admission::{Ask, admit};
use crate::container::Container;
use crate::record::{Phase, Record};
use crate::session::{Session, SocketWriter, detach_keys};
use crate::{Engine, Error, Inner, Result, events, links, names, resolve};

pub(crate) use probe::{Probed, probe};

/// How long an ended exec can be inspected at least, unless there are [`MOST`].
const REMEMBERED: Duration = Duration::from_secs(300);
/// Instances, per engine, before ended ones are forgotten early and then new ones refused.
const MOST: usize = 100_000;
/// Instances below which none is looked for that may be forgotten.
const FEW: usize = 64;

/// One instance.
#[derive(Debug)]
pub(crate) struct Exec {
    id: String,
    container: Arc<Container>,
    config: ExecCreate,
    keys: Vec<u8>,
    progress: Mutex<Progress>,
}

#[derive(Debug, Clone, Copy)]
enum Progress {
    Created,
    Running { pid: u32 },
    Ended { code: i32, at: Instant },
}

/// All instances.
#[derive(Debug, Default)]
pub(crate) struct Execs(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_id: HashMap<String, Arc<Exec>>,
    /// How many there were after the last look for those that may be forgotten. The next comes when
    /// there are twice as many, so that one costs no more, however many there are.
    kept: usize,
}

impl Execs {
    fn find(&self, id: &str) -> Result<Arc<Exec>> {
        let known = lock(&self.0);
        let exec = known.by_id.get(id).cloned();
        exec.ok_or_else(|| Error::not_found(format!("No such exec instance: {id}")))
    }

    fn insert(&self, exec: Exec) -> Result<Arc<Exec>> {
        let mut known = lock(&self.0);
        if known.by_id.len() >= (2 * known.kept).clamp(FEW, MOST) {
            known.forget(REMEMBERED);
            if known.by_id.len() >= MOST {
                known.forget(Duration::ZERO);
            }
        }
        if known.by_id.len() >= MOST {
            return Err(Error::unavailable("too many exec instances"));
        }
        let exec = Arc::new(exec);
        known.by_id.insert(exec.id.clone(), Arc::clone(&exec));
        Ok(exec)
    }

    fn remove(&self, id: &str) {
        lock(&self.0).by_id.remove(id);
    }

    /// All of them, for debugging.
    pub(crate) fn shown(&self) -> Vec<dockerapi::DebugExec> {
        let known = lock(&self.0);
        let shown = known.by_id.values().map(|exec| dockerapi::DebugExec {
            id: exec.id.clone(),
            container: exec.container.id.clone(),
            state: match *lock(&exec.progress) {
                Progress::Created => "created",
                Progress::Running { .. } => "running",
                Progress::Ended { .. } => "ended",
            }
            .into(),
        });
        shown.collect()
    }

    /// Those that run in a container, or may still be started.
    pub(crate) fn of_container(&self, id: &str) -> Vec<String> {
        let known = lock(&self.0);
        let live = known.by_id.values().filter(|exec| {
            exec.container.id == id && !matches!(*lock(&exec.progress), Progress::Ended { .. })
        });
        live.map(|exec| exec.id.clone()).collect()
    }
}

impl Known {
    /// Forgets those that ended that long ago, and those that can no longer be started.
    fn forget(&mut self, remembered: Duration) {
        self.by_id.retain(|_, exec| match *lock(&exec.progress) {
            Progress::Ended { at, .. } => at.elapsed() < remembered,
            Progress::Created => exec.container.record().state.phase.is_alive(),
            Progress::Running { .. } => true,
        });
        self.kept = self.by_id.len();
    }
}

/// A start with a client.
#[derive(Debug)]
pub(crate) struct ExecSession {
    inner: Arc<Inner>,
    exec: Arc<Exec>,
    size: Option<ConsoleSize>,
    /// Output is put into frames.
    framed: bool,
}

impl Engine {
    /// `POST /containers/{id}/exec`.
    ///
    /// # Errors
    /// Conflict when it does not run or is paused; invalid parameter without a command.
    pub async fn exec_create(&self, name: &str, config: ExecCreate) -> Result<String> {
        if config.cmd.is_empty() {
            return Err(Error::invalid("No exec command specified"));
        }
        let container = self.0.containers.find(name)?;
        let record = container.record();
        admit(record.state.phase, Ask::Exec, &record.id, &record.name)?;
        let id = names::random_id()?;
        let keys = detach_keys(Some(&config.detach_keys))?;
        let action = event_action("exec_create", &config.cmd);
        let event = exec_event(&record, &action, &id, &[]);
        let progress = Mutex::new(Progress::Created);
        self.0.execs.insert(Exec {
            id: id.clone(),
            container,
            config,
            keys,
            progress,
        })?;
        self.0.events.publish(event);
        Ok(id)
    }

    /// `POST /exec/{id}/start` with a client: checks; the stream follows.
    ///
    /// # Errors
    /// Conflict when it was started before, or its container does not run.
    pub fn exec_prepare(&self, id: &str, start: &ExecStart) -> Result<Session> {
        let exec = self.0.execs.find(id)?;
        exec.startable()?;
        let size = exec.size(start);
        // The stream is as the start has it, whatever the process has: so dockerd does it.
        let framed = !start.tty;
        Ok(Session::exec(
            !framed,
            ExecSession {
                inner: Arc::clone(&self.0),
                exec,
                size,
                framed,
            },
        ))
    }

    /// `POST /exec/{id}/start` with `Detach`.
    ///
    /// # Errors
    /// As [`Engine::exec_prepare`], and when the process cannot be started.
    pub async fn exec_start_detached(&self, id: &str, start: &ExecStart) -> Result<()> {
        let exec = self.0.execs.find(id)?;
        exec.startable()?;
        let size = exec.size(start);
        let inner = Arc::clone(&self.0);
        // One that is begun is attended to, also when the client leaves.
        tokio::spawn(async move { run(&inner, &exec, size, None, &mut None).await })
            .await
            .map_err(|_| Error::system("the start of an exec was interrupted"))?
    }

    /// `GET /exec/{id}/json`.
    ///
    /// # Errors
    /// Not found.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecInspect> {
        let exec = self.0.execs.find(id)?;
        let (running, exit_code, pid) = match *lock(&exec.progress) {
            Progress::Created => (false, None, 0),
            Progress::Running { pid } => (true, None, pid),
            Progress::Ended { code, .. } => (false, Some(code), 0),
        };
        let config = &exec.config;
        Ok(ExecInspect {
            id: exec.id.clone(),
            running,
            exit_code,
            process_config: ExecProcessConfig {
                tty: config.tty,
                entrypoint: config.cmd[0].clone(),
                arguments: config.cmd[1..].to_vec(),
                privileged: config.privileged,
                user: config.user.clone(),
            },
            open_stdin: config.attach_stdin,
            open_stderr: config.attach_stderr,
            open_stdout: config.attach_stdout,
            can_remove: false,
            container_id: exec.container.id.clone(),
            detach_keys: config.detach_keys.clone(),
            pid,
        })
    }

    /// `POST /exec/{id}/resize`.
    ///
    /// # Errors
    /// Conflict when it does not run.
    pub async fn exec_resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        let exec = self.0.execs.find(id)?;
        let running = matches!(*lock(&exec.progress), Progress::Running { .. });
        if !running {
            return Err(Error::conflict(format!(
                "exec instance {id} is not running"
            )));
        }
        let size = ConsoleSize { height, width };
        Ok(self
            .0
            .compute
            .resize(&exec.container.id, Some(id), size)
            .await?)
    }
}

impl Exec {
    /// The terminal's, as the start has it, or else as it was created.
    fn size(&self, start: &ExecStart) -> Option<ConsoleSize> {
        let size = start.console_size.or(self.config.console_size);
        size.map(|[height, width]| ConsoleSize { height, width })
    }

    fn startable(&self) -> Result<()> {
        match *lock(&self.progress) {
            Progress::Created => {}
            Progress::Running { .. } => {
                return Err(Error::conflict(format!(
                    "Error: Exec command {} is already running",
                    self.id
                )));
            }
            Progress::Ended { .. } => {
                return Err(Error::conflict(format!(
                    "Error: Exec command {} has already run",
                    self.id
                )));
            }
        }
        let record = self.container.record();
        admit(record.state.phase, Ask::Exec, &record.id, &record.name).map(|_| ())
    }

    /// Takes the one start it has.
    fn claim(&self) -> Result<()> {
        let mut progress = lock(&self.progress);
        match *progress {
            Progress::Created => {
                *progress = Progress::Running { pid: 0 };
                Ok(())
            }
            _ => Err(Error::conflict(format!(
                "Error: Exec command {} is already running",
                self.id
            ))),
        }
    }

    fn ended(&self, code: i32) {
        *lock(&self.progress) = Progress::Ended {
            code,
            at: Instant::now(),
        };
    }
}

impl ExecSession {
    pub(crate) async fn run(self, stream: OwnedFd, already_read: Vec<u8>) -> Result<()> {
        let config = &self.exec.config;
        // A second handle tells the client of a failed start, and keeps the stream open until the
        // exit code can be asked for.
        let spare = stream
            .try_clone()
            .map_err(|error| Error::system(format!("exec: {error}")))?;
        let (ended, end) = oneshot::channel();
        let attachment = Attachment {
            stream,
            already_read,
            stdin: config.attach_stdin,
            stdout: config.attach_stdout,
            stderr: config.attach_stderr,
            framed: self.framed,
            detach_keys: if config.tty {
                self.exec.keys.clone()
            } else {
                Vec::new()
            },
            ended: Some(ended),
        };
        let mut client = Some(Client {
            stream: Some(spare),
            end,
        });
        let result = run(
            &self.inner,
            &self.exec,
            self.size,
            Some(attachment),
            &mut client,
        )
        .await;
        if let (Err(error), Some(stream)) = (&result, client.and_then(|c| c.stream)) {
            let text = format!("{error}\r\n");
            let mut bytes = Vec::new();
            if self.framed {
                bytes.extend([1, 0, 0, 0]);
                bytes.extend(u32::try_from(text.len()).unwrap_or(0).to_be_bytes());
            }
            bytes.extend(text.as_bytes());
            if let Ok(mut socket) = SocketWriter::new(stream) {
                // The client may be gone; then nobody needs the text.
                let _ = socket.write_all(&bytes).await;
            }
        }
        result
    }
}

/// The engine's hold on the stream of an exec's client.
struct Client {
    stream: Option<OwnedFd>,
    end: oneshot::Receiver<AttachEnd>,
}

impl Client {
    /// The client sees the end of the output.
    fn hang_up(&mut self) {
        use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
        let Some(stream) = self.stream.take() else {
            return;
        };
        // The client may have done so before.
        let _ = shutdown(&stream, Shutdown::Write);
        // Closing over input that nobody took would be a reset, which may overtake the output.
        let mut rest = [0; 4096];
        for _ in 0..64 {
            if !matches!(recv(&stream, &mut rest, RecvFlags::DONTWAIT), Ok((_, 1..))) {
                break;
            }
        }
    }
}

async fn run(
    inner: &Arc<Inner>,
    exec: &Arc<Exec>,
    size: Option<ConsoleSize>,
    attachment: Option<Attachment>,
    client: &mut Option<Client>,
) -> Result<()> {
    exec.claim()?;
    let record = exec.container.record();
    let started = async {
        if record.state.phase != Phase::Running {
            return Err(crate::container::not_running(&record.id));
        }
        let asked = compute::Exec {
            exec_id: exec.id.clone(),
            process: process(&record, &exec.config, size, inner)?,
            identity: Identity {
                user: match exec.config.user.as_str() {
                    "" => record.config.user.clone(),
                    own => own.to_owned(),
                },
                extra_groups: record.host.group_add.clone().unwrap_or_default(),
            },
            open_stdin: exec.config.attach_stdin,
            attachment,
            unconfined: exec.config.privileged,
        };
        inner.compute.exec(&record.id, asked).await.map_err(wrap)
    };
    let running = match started.await {
        Ok(running) => running,
        Err(error) => {
            let has = |text: &str| error.message.contains(text);
            exec.ended(
                if has("executable file not found") || has("no such file or directory") {
                    127
                } else {
                    126
                },
            );
            return Err(error);
        }
    };
    *lock(&exec.progress) = Progress::Running { pid: running.pid };
    let action = event_action("exec_start", &exec.config.cmd);
    inner
        .events
        .publish(exec_event(&record, &action, &exec.id, &[]));
    let (inner, exec, client) = (Arc::clone(inner), Arc::clone(exec), client.take());
    tokio::spawn(async move { attend(&inner, &exec, running.exit, client).await });
    Ok(())
}

/// Waits for the end of the process and of its client, in whatever order they come. The exit code
/// is there to be asked for before the client sees the end of the output.
async fn attend(
    inner: &Inner,
    exec: &Exec,
    mut exit: oneshot::Receiver<compute::Exit>,
    client: Option<Client>,
) {
    let record_end = |exit: std::result::Result<compute::Exit, _>| {
        // A platform that went away has no status to give.
        let code = exit.map_or(137, |exit: compute::Exit| exit.code);
        exec.ended(code);
        let extra = [("exitCode", code.to_string())];
        let event = exec_event(&exec.container.record(), "exec_die", &exec.id, &extra);
        inner.events.publish(event);
    };
    let Some(mut client) = client else {
        return record_end(exit.await);
    };
    tokio::select! {
        biased;
        ended = &mut exit => {
            record_end(ended);
            // The client may still be taking what the process wrote.
            let _ = (&mut client.end).await;
            client.hang_up();
        }
        end = &mut client.end => {
            // Left before the end: detached, or gone.
            if end == Ok(AttachEnd::Detached) {
                let event = exec_event(&exec.container.record(), "exec_detach", &exec.id, &[]);
                inner.events.publish(event);
            }
            client.hang_up();
            record_end(exit.await);
        }
    }
}

fn process(
    record: &Record,
    config: &ExecCreate,
    size: Option<ConsoleSize>,
    inner: &Inner,
) -> Result<Process> {
    let mut env = resolve::environment(record, &links::environment(inner, record)?);
    if config.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".into());
    }
    for entry in &config.env {
        let name = entry.split('=').next().unwrap_or_default();
        env.retain(|old| old.split('=').next() != Some(name));
        if entry.contains('=') {
            env.push(entry.clone());
        }
    }
    let cwd = match (
        config.working_dir.as_str(),
        record.config.working_dir.as_str(),
    ) {
        ("", "") => "/",
        ("", own) => own,
        (asked, _) => asked,
    };
    let privileged = config.privileged || record.host.privileged;
    Ok(Process {
        terminal: config.tty,
        console_size: size,
        user: User::default(),
        args: config.cmd.clone(),
        env,
        cwd: cwd.to_owned(),
        capabilities: Some(resolve::exec_capabilities(
            &record.host,
            privileged,
            inner.compute.features(),
        )?),
        no_new_privileges: resolve::no_new_privileges(&record.host, &inner.config)?,
        ..Process::default()
    })
}

fn wrap(error: compute::Error) -> Error {
    let mut error = Error::from(error);
    error.message = format!(
        "OCI runtime exec failed: exec failed: unable to start container process: {}",
        error.message
    );
    error
}

/// moby puts a space between the program and its arguments, also where there are none.
fn event_action(what: &str, command: &[String]) -> String {
    let (program, arguments) = command
        .split_first()
        .map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    format!("{what}: {program} {}", arguments.join(" "))
}

fn exec_event(
    record: &Record,
    action: &str,
    id: &str,
    extra: &[(&str, String)],
) -> dockerapi::Event {
    let mut all = vec![("execID", id.to_owned())];
    all.extend(extra.iter().cloned());
    events::container(record, action, &all)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, watch};

    use super::*;

    #[test]
    fn ended_ones_make_room() {
        let container = Arc::new(Container {
            id: "c".into(),
            requests: mpsc::channel(1).0,
            snapshot: watch::channel(Arc::new(Record::default())).1,
        });
        let execs = Execs::default();
        let insert = |id: usize, progress| {
            execs.insert(Exec {
                id: id.to_string(),
                container: Arc::clone(&container),
                config: ExecCreate::default(),
                keys: Vec::new(),
                progress: Mutex::new(progress),
            })
        };
        for id in 0..MOST {
            let exec = insert(id, Progress::Running { pid: 1 }).expect("room");
            if id > 0 {
                exec.ended(0);
            }
        }
        execs.find("7").expect("remembered");
        insert(MOST, Progress::Running { pid: 1 }).expect("room of those that ended");
        assert!(execs.find("7").is_err());
        assert_eq!(execs.of_container("c").len(), 2);
        for id in MOST + 1..2 * MOST - 1 {
            insert(id, Progress::Running { pid: 1 }).expect("room");
        }
        assert!(insert(2 * MOST, Progress::Created).is_err());
    }
}
