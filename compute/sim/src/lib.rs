//! [`Compute`] in memory, for the engine's logic: what it asks for, remembers, restarts and clears
//! away. Programs are scripts of one word, and nothing on the host is touched.
//!
//! ```text
//!   exit N        ends at once with status N
//!   sleep         runs until a signal ends it
//!   stubborn      the same, but only SIGKILL ends it
//!   missing       is not in the image: the launch fails
//! ```
//!
//! A [`Sim`] outlives the engine above it, as keepers do: clone it, drop the engine, open another.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use compute::{
    Adopted, Attachment, Compute, Error, Exec, ExecRunning, Exit, Features, Kind, Launch, Notice,
    Result, Running, Usage,
};
use oci::runtime::{ConsoleSize, Resources};
use tokio::sync::{mpsc, oneshot};

const KILL: i32 = 9;
/// Signals that end nothing by themselves here: SIGWINCH, SIGCHLD, SIGCONT.
const HARMLESS: [i32; 3] = [28, 17, 18];

/// The platform. Cheap to clone; clones are the same platform.
#[derive(Debug, Clone, Default)]
pub struct Sim(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    features: Features,
    world: Mutex<World>,
}

#[derive(Debug, Default)]
struct World {
    runs: BTreeMap<String, Run>,
    next_pid: u32,
    /// Every launch, in order: IDs.
    launched: Vec<String>,
    keeps_traces: bool,
}

/// One run of a container: from launch to release.
#[derive(Debug)]
struct Run {
    pid: u32,
    started_at: SystemTime,
    stubborn: bool,
    paused: bool,
    notices: mpsc::Sender<Notice>,
    exit: Option<Exit>,
    execs: BTreeMap<String, oneshot::Sender<Exit>>,
}

impl Sim {
    /// IDs of all launches so far, failed ones left out.
    pub fn launched(&self) -> Vec<String> {
        self.0.world().launched.clone()
    }

    /// Ends a container from outside the engine, as its program would: with this status.
    pub fn end(&self, id: &str, code: i32) {
        if let Some(run) = self.0.world().runs.get_mut(id) {
            run.end(code);
        }
    }

    /// The out-of-memory killer's work: news of it, then the end.
    pub fn out_of_memory(&self, id: &str) {
        if let Some(run) = self.0.world().runs.get_mut(id) {
            // A full channel means nobody listens: then the exit tells it.
            let _ = run.notices.try_send(Notice::Oom);
            run.end_with(137, true);
        }
    }

    /// From now on what a run left stays, as when an engine is killed before it was cleared away.
    pub fn keep_traces(&self, keep: bool) {
        self.0.world().keeps_traces = keep;
    }

    /// Everything is gone without a trace, as after a restart of the host.
    pub fn lose_everything(&self) {
        self.0.world().runs.clear();
    }
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A running container.
    fn running<T>(&self, id: &str, work: impl FnOnce(&mut Run) -> Result<T>) -> Result<T> {
        match self.world().runs.get_mut(id) {
            Some(run) if run.exit.is_none() => work(run),
            _ => Err(Error::not_running(id)),
        }
    }
}

impl Run {
    fn end(&mut self, code: i32) {
        self.end_with(code, false);
    }

    fn end_with(&mut self, code: i32, oom_killed: bool) {
        if self.exit.is_some() {
            return;
        }
        let exit = Exit {
            code,
            oom_killed,
            finished_at: SystemTime::now(),
            error: None,
        };
        for (_, exec) in std::mem::take(&mut self.execs) {
            // Who asked may be gone.
            let _ = exec.send(Exit {
                code: 137,
                ..exit.clone()
            });
        }
        // Without a listener it is found by the next adopt.
        let _ = self.notices.try_send(Notice::Exited(exit.clone()));
        self.exit = Some(exit);
    }

    fn as_running(&mut self) -> Running {
        let (sender, notices) = mpsc::channel(4);
        self.notices = sender;
        Running {
            pid: self.pid,
            started_at: self.started_at,
            paused: self.paused,
            notices,
        }
    }
}

/// What a script comes to.
enum Outcome {
    Ends(i32),
    Runs { stubborn: bool },
}

fn script(args: &[String]) -> Result<Outcome> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["exit", code] => match code.parse() {
            Ok(code) => Ok(Outcome::Ends(code)),
            Err(_) => Err(Error::new(Kind::Invalid, format!("no status: {code}"))),
        },
        ["sleep"] => Ok(Outcome::Runs { stubborn: false }),
        ["stubborn"] => Ok(Outcome::Runs { stubborn: true }),
        _ => Err(Error::new(
            Kind::CommandNotFound,
            format!("exec: {words:?}: executable file not found in $PATH"),
        )),
    }
}

#[async_trait]
impl Compute for Sim {
    fn features(&self) -> &Features {
        &self.0.features
    }

    async fn launch(&self, launch: Launch) -> Result<Running> {
        let args = launch.spec.process.map(|process| process.args);
        let outcome = script(&args.unwrap_or_default())?;
        let mut world = self.0.world();
        if world.runs.contains_key(&launch.id) {
            return Err(Error::internal(format!(
                "container {} was not released after its last run",
                launch.id
            )));
        }
        world.next_pid += 1;
        let (sender, _) = mpsc::channel(1);
        let mut run = Run {
            pid: 1000 + world.next_pid,
            started_at: SystemTime::now(),
            stubborn: matches!(outcome, Outcome::Runs { stubborn: true }),
            paused: false,
            notices: sender,
            exit: None,
            execs: BTreeMap::new(),
        };
        let running = run.as_running();
        if let Outcome::Ends(code) = outcome {
            run.end(code);
        }
        world.launched.push(launch.id.clone());
        world.runs.insert(launch.id, run);
        Ok(running)
    }

    async fn adopt(&self, id: &str) -> Result<Adopted> {
        Ok(match self.0.world().runs.get_mut(id) {
            None => Adopted::Gone,
            Some(run) => match &run.exit {
                Some(exit) => Adopted::Exited(exit.clone()),
                None => Adopted::Running(run.as_running()),
            },
        })
    }

    async fn exec(&self, id: &str, exec: Exec) -> Result<ExecRunning> {
        let outcome = script(&exec.process.args)?;
        self.0.running(id, |run| {
            if run.paused {
                return Err(Error::new(Kind::Conflict, "container is paused"));
            }
            let (ended, exit) = oneshot::channel();
            match outcome {
                Outcome::Ends(code) => {
                    let _ = ended.send(Exit {
                        code,
                        oom_killed: false,
                        finished_at: SystemTime::now(),
                        error: None,
                    });
                }
                Outcome::Runs { .. } => {
                    run.execs.insert(exec.exec_id, ended);
                }
            }
            Ok(ExecRunning { pid: run.pid, exit })
        })
    }

    async fn attach(&self, id: &str, _: Option<&str>, _: Attachment) -> Result<()> {
        // Programs say nothing: a client sees the end at once.
        self.0.running(id, |_| Ok(()))
    }

    async fn signal(&self, id: &str, exec: Option<&str>, signal: i32) -> Result<()> {
        self.0.running(id, |run| {
            if let Some(exec) = exec {
                let ended = run.execs.remove(exec);
                let ended = ended.ok_or_else(|| Error::new(Kind::NotFound, "no such exec"))?;
                let _ = ended.send(Exit {
                    code: 128 + signal,
                    oom_killed: false,
                    finished_at: SystemTime::now(),
                    error: None,
                });
                return Ok(());
            }
            let ends = signal == KILL || !(run.stubborn || HARMLESS.contains(&signal));
            // A frozen process dies when it is thawed; this one remembers nothing else.
            if ends {
                run.end(128 + signal);
            }
            Ok(())
        })
    }

    async fn resize(&self, id: &str, _: Option<&str>, _: ConsoleSize) -> Result<()> {
        self.0.running(id, |_| Ok(()))
    }

    async fn pause(&self, id: &str) -> Result<()> {
        self.0.running(id, |run| {
            run.paused = true;
            Ok(())
        })
    }

    async fn resume(&self, id: &str) -> Result<()> {
        let mut world = self.0.world();
        let run = world.runs.get_mut(id);
        let run = run.ok_or_else(|| Error::not_running(id))?;
        run.paused = false;
        Ok(())
    }

    async fn update(&self, id: &str, _: &Resources) -> Result<()> {
        self.0.running(id, |_| Ok(()))
    }

    async fn mount(&self, _: &str, _: OwnedFd, _: &str) -> Result<()> {
        Ok(())
    }

    async fn unmount(&self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }

    async fn usage(&self, id: &str) -> Result<Usage> {
        self.0.running(id, |_| Ok(Usage::default()))
    }

    async fn processes(&self, id: &str) -> Result<Vec<u32>> {
        self.0.running(id, |run| Ok(vec![run.pid]))
    }

    async fn root(&self, _: &str) -> Result<OwnedFd> {
        Err(Error::new(Kind::Unsupported, "there are no files here"))
    }

    async fn known(&self) -> Result<Vec<String>> {
        Ok(self.0.world().runs.keys().cloned().collect())
    }

    async fn release(&self, id: &str) -> Result<()> {
        let mut world = self.0.world();
        if let Some(run) = world.runs.get_mut(id) {
            run.end(137);
        }
        if !world.keeps_traces {
            world.runs.remove(id);
        }
        Ok(())
    }
}
