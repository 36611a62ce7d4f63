//! The supplier's process: takes questions on the socket that it was started with.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use crate::protocol::{self, Answer, Ask, Lines, Settings};
use crate::table::{Served, Table};

/// How long a daemon may take from starting the supplier to watching it.
const FIRST: Duration = Duration::from_secs(30);

/// Serves until nothing is left to supply. `listener` is the socket that questions come to.
///
/// # Errors
/// Why it cannot begin, for a log.
pub fn main(listener: OwnedFd, settings: &Settings) -> Result<(), String> {
    let failed = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    // It is nobody's child: containers read through it.
    sys::keeper::ignore_signals();
    let _ = rustix::process::setsid();
    let (connection, mount) = fuse::mount().map_err(failed("mounting FUSE"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .thread_name("supply")
        .build()
        .map_err(failed("starting threads"))?;
    let table = Table::new(settings, runtime.handle().clone());
    let files: Arc<dyn fuse::Files> = Arc::new(Served(Arc::clone(&table)));
    std::thread::Builder::new()
        .name("fuse".into())
        .spawn(move || {
            // Without its kernel side it is of no use: reads fail and another one is started.
            let ended = connection.serve(&files);
            tracing::error!(?ended, "FUSE");
            sys::process::exit_now(1);
        })
        .map_err(failed("starting a thread"))?;
    let idle = Arc::clone(&table);
    runtime.spawn(async move {
        tokio::time::sleep(FIRST).await;
        idle.begin_anyway();
    });
    let mount = Arc::new(mount);
    for stream in UnixListener::from(listener).incoming() {
        let stream = stream.map_err(failed("accepting"))?;
        let (table, mount) = (Arc::clone(&table), Arc::clone(&mount));
        let served = std::thread::Builder::new()
            .name("question".into())
            .spawn(move || {
                if let Err(error) = serve(&table, &mount, stream) {
                    tracing::debug!(%error, "a question");
                }
            });
        if let Err(error) = served {
            tracing::warn!(%error, "starting a thread");
        }
    }
    Ok(())
}

fn serve(table: &Arc<Table>, mount: &OwnedFd, stream: UnixStream) -> std::io::Result<()> {
    let mut lines = Lines::new(stream.try_clone()?);
    let Some(ask) = lines.next::<Ask>()? else {
        return Ok(());
    };
    match ask {
        Ask::Add { chain, dir, login } => {
            let device = table.add(&chain, &dir, login).and_then(|()| {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                rustix::fs::openat(mount, chain.as_str(), flags, Mode::empty())
                    .map_err(|errno| format!("opening the device of layer {chain}: {errno}"))
            });
            match device {
                Ok(device) => protocol::send(&stream, &Answer::Done, Some(device.as_fd())),
                Err(text) => {
                    let sent = protocol::send(&stream, &Answer::Failed(text), None);
                    // A former layer of this name may have been the last one.
                    table.end_if_idle();
                    sent
                }
            }
        }
        Ask::Forget { chain } => {
            // Said first: it may have been the last thing to do.
            let sent = protocol::send(&stream, &Answer::Done, None);
            table.forget(&chain);
            sent
        }
        Ask::Configure(settings) => {
            table.configure(&settings);
            protocol::send(&stream, &Answer::Done, None)
        }
        Ask::Refetch { chain } => {
            table.refetch(&chain);
            protocol::send(&stream, &Answer::Done, None)
        }
        Ask::Watch => {
            let (whole, news) = table.watch();
            let told = watch(table, &stream, (whole, news));
            table.unwatch();
            told
        }
    }
}

/// Tells news until the daemon is gone, which a thread of its own waits for.
fn watch(
    table: &Arc<Table>,
    stream: &UnixStream,
    (whole, news): (
        Vec<protocol::News>,
        std::sync::mpsc::Receiver<protocol::News>,
    ),
) -> std::io::Result<()> {
    protocol::send(stream, &Answer::Done, None)?;
    // What was supplied may have been forgotten before anybody watched.
    table.end_if_idle();
    let (other, table) = (stream.try_clone()?, Arc::clone(table));
    let gone = std::thread::Builder::new()
        .name("daemon".into())
        .spawn(move || {
            let mut end: &UnixStream = &other;
            let _ = std::io::Read::read(&mut end, &mut [0]);
            table.close_watchers();
        })?;
    for news in whole.into_iter().chain(news) {
        if protocol::send(stream, &news, None).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let _ = gone.join();
    Ok(())
}
