//! The daemon's side: starts the supplier when it is needed, and asks it.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use registry::Credentials;

use crate::protocol::{self, Answer, Ask, Lines, News, Settings};

/// Longest answer: opening a device reads no blob.
const PATIENCE: Duration = Duration::from_secs(30);
/// For what is told in passing, while others wait.
const HASTE: Duration = Duration::from_secs(2);
/// Tries of a question: the supplier may end just then, having nothing to do.
const TRIES: u32 = 3;

/// How the supplier's process is started: with the socket as its standard input, and
/// [`Settings`] as JSON in a variable.
#[derive(Debug, Clone)]
pub struct Program {
    /// File to execute.
    pub file: PathBuf,
    /// Its words, the first of them its name.
    pub words: Vec<String>,
    /// Name of the variable.
    pub variable: String,
}

/// Starts and asks the supplier.
#[derive(Debug)]
pub struct Supplier {
    socket: PathBuf,
    log: PathBuf,
    program: Program,
    /// For the next one that is started; held while that is done.
    settings: Mutex<Settings>,
    /// By chain, for another supplier: this one does not write them down.
    logins: Mutex<HashMap<String, Credentials>>,
    /// What is to be forgotten, for a thread: whoever forgets does not wait.
    goodbyes: Arc<Goodbyes>,
}

/// Layers that nobody will ask for again, and of which the supplier is not told yet.
#[derive(Debug, Default)]
struct Goodbyes {
    waiting: Mutex<BTreeSet<String>>,
    more: Condvar,
    /// Held while one is told, so that a layer which is wanted again is not forgotten after that.
    telling: Mutex<()>,
    over: AtomicBool,
}

impl Goodbyes {
    /// Tells one after the other, until the daemon's side is gone.
    fn run(&self, socket: &Path) {
        loop {
            let waiting = lock(&self.waiting);
            let idle = |waiting: &mut BTreeSet<String>| {
                waiting.is_empty() && !self.over.load(Ordering::Acquire)
            };
            let waiting = self.more.wait_while(waiting, idle);
            drop(waiting);
            let telling = lock(&self.telling);
            let Some(chain) = lock(&self.waiting).pop_first() else {
                if self.over.load(Ordering::Acquire) {
                    return;
                }
                continue;
            };
            tell(socket, &Ask::Forget { chain });
            drop(telling);
        }
    }
}

impl Drop for Supplier {
    fn drop(&mut self) {
        // Under the lock, or the thread could look just before and wait just after.
        let waiting = lock(&self.goodbyes.waiting);
        self.goodbyes.over.store(true, Ordering::Release);
        drop(waiting);
        self.goodbyes.more.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tell(socket: &Path, ask: &Ask) {
    if let Ok(stream) = UnixStream::connect(socket)
        && let Err(error) = exchange(&stream, ask, HASTE)
    {
        tracing::warn!(%error, "telling the supplier");
    }
}

impl Supplier {
    /// For a daemon with this run directory. Nothing is started.
    pub fn new(run: &Path, program: Program, settings: Settings) -> Self {
        let goodbyes = Arc::<Goodbyes>::default();
        let (socket, telling) = (run.join("lazy.sock"), Arc::clone(&goodbyes));
        let thread = std::thread::Builder::new().name("lazy-forget".into());
        let to = socket.clone();
        if let Err(error) = thread.spawn(move || telling.run(&to)) {
            // The supplier goes on to fetch what nobody wants, and ends with it.
            tracing::warn!(%error, "starting a thread");
        }
        Self {
            socket,
            log: run.join("lazy.log"),
            program,
            settings: Mutex::new(settings),
            logins: Mutex::default(),
            goodbyes,
        }
    }

    /// Has a layer supplied; its device.
    ///
    /// # Errors
    /// When there is no supplier or it cannot.
    pub fn add(&self, chain: &str, dir: &Path, login: Option<Credentials>) -> io::Result<OwnedFd> {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(login) = &login {
            logins.insert(chain.to_owned(), login.clone());
        }
        let login = login.or_else(|| logins.get(chain).cloned());
        drop(logins);
        // It is wanted again: what was to be told of its former life is not told after this.
        let _telling = lock(&self.goodbyes.telling);
        lock(&self.goodbyes.waiting).remove(chain);
        let ask = Ask::Add {
            chain: chain.to_owned(),
            dir: dir.to_owned(),
            login,
        };
        let mut last = io::Error::other("no supplier");
        for _ in 0..TRIES {
            let asked = self
                .started()
                .and_then(|stream| exchange(&stream, &ask, PATIENCE));
            match asked {
                Ok((Answer::Done, Some(device))) => return Ok(device),
                Ok((Answer::Failed(text), _)) => return Err(io::Error::other(text)),
                Ok((Answer::Done, None)) => return Err(io::ErrorKind::InvalidData.into()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A layer is whole or gone; the supplier is told soon. Does not wait: callers hold locks. Without
    /// a supplier there is nothing to do.
    pub fn forget(&self, chain: &str) {
        lock(&self.logins).remove(chain);
        lock(&self.goodbyes.waiting).insert(chain.to_owned());
        self.goodbyes.more.notify_one();
    }

    /// All of a layer came and was wrong.
    pub fn refetch(&self, chain: &str) {
        self.tell(&Ask::Refetch {
            chain: chain.to_owned(),
        });
    }

    /// Takes these settings, also for the one that runs: an earlier daemon may have started it.
    pub fn configure(&self, settings: Settings) {
        let mut known = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone_from(&settings);
        // Whoever is being started is told before or has them.
        self.tell(&Ask::Configure(settings));
    }

    /// Whether there is one.
    pub fn is_running(&self) -> bool {
        UnixStream::connect(&self.socket).is_ok()
    }

    /// Calls `each` for all that happens, until the supplier ends or was not there.
    ///
    /// # Errors
    /// When there is none.
    pub fn watch(&self, mut each: impl FnMut(News)) -> io::Result<()> {
        let stream = UnixStream::connect(&self.socket)?;
        protocol::send(&stream, &Ask::Watch, None)?;
        let mut lines = Lines::new(stream);
        let Some(Answer::Done) = lines.next()? else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        // However it ends: it is gone.
        while let Ok(Some(news)) = lines.next() {
            each(news);
        }
        Ok(())
    }

    fn tell(&self, ask: &Ask) {
        tell(&self.socket, ask);
    }

    /// A connection, to one that is started if there is none.
    fn started(&self) -> io::Result<UnixStream> {
        if let Ok(stream) = UnixStream::connect(&self.socket) {
            return Ok(stream);
        }
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(stream) = UnixStream::connect(&self.socket) {
            return Ok(stream);
        }
        match std::fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&self.socket)?;
        self.spawn(listener.into(), &settings)?;
        UnixStream::connect(&self.socket)
    }

    fn spawn(&self, listener: OwnedFd, settings: &Settings) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let name = self.program.words.first().map_or("", String::as_str);
        let mut child = Command::new(&self.program.file)
            .arg0(name)
            .args(self.program.words.iter().skip(1))
            .current_dir("/")
            .env(&self.program.variable, serde_json::to_string(settings)?)
            .stdin(Stdio::from(listener))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        // It outlives us, unless it ends before: then somebody has to take note.
        std::thread::Builder::new()
            .name("supplier".into())
            .spawn(move || child.wait())?;
        Ok(())
    }
}

fn exchange(
    stream: &UnixStream,
    ask: &Ask,
    patience: Duration,
) -> io::Result<(Answer, Option<OwnedFd>)> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    protocol::send(stream, ask, None)?;
    protocol::receive(stream)
}

impl images::Devices for Supplier {
    fn open(&self, chain: &str, dir: &Path) -> io::Result<OwnedFd> {
        self.add(chain, dir, None)
    }

    fn forget(&self, chain: &str) {
        self.forget(chain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_forgets_does_not_wait_and_what_is_wanted_again_stays() {
        let dir = tempfile::tempdir().expect("temp dir");
        let listener = UnixListener::bind(dir.path().join("lazy.sock")).expect("socket");
        let program = Program {
            file: PathBuf::from("/nonexistent"),
            words: Vec::new(),
            variable: String::new(),
        };
        let settings = Settings {
            registries: registry::Config::default(),
            slots: 1,
        };
        let supplier = Supplier::new(dir.path(), program, settings);
        // As while a supplier is told of another one, and does not answer.
        let telling = lock(&supplier.goodbyes.telling);
        supplier.forget("a");
        supplier.forget("b");
        // As `add` does.
        lock(&supplier.goodbyes.waiting).remove("a");
        drop(telling);
        let (stream, _) = listener.accept().expect("a connection");
        let mut line = String::new();
        let mut lines = io::BufReader::new(&stream);
        io::BufRead::read_line(&mut lines, &mut line).expect("a line");
        let ask: Ask = serde_json::from_str(&line).expect("a question");
        assert_eq!(ask, Ask::Forget { chain: "b".into() });
        drop(stream);
        drop(supplier);
        // Its thread has ended or will: it has nothing more to say.
        listener.set_nonblocking(true).expect("socket");
        assert!(listener.accept().is_err());
    }
}
