//! The daemon: reads its settings, opens the engine, listens, and ends when asked. Containers are
//! not its children: they go on without it.

mod control;
mod listen;
mod options;
mod pidfile;
mod settings;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use compute_linux::Linux;
use engine::Engine;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use control::Ready;
use settings::{Asked, Settings};

/// Runs the engine with dockerd's arguments. `called_dockerd` listens where docker's clients look.
pub(crate) fn main(args: Vec<OsString>, called_dockerd: bool) -> ExitCode {
    let args: Vec<String> = args
        .into_iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let ready = Ready::inherited();
    let settings = match settings::read(&args, called_dockerd) {
        Ok(Asked::Run(settings)) => settings,
        Ok(Asked::Said(text)) => return said(&text),
        Err(error) => {
            ready.failed(&format!("{error:#}"));
            return complain(&error);
        }
    };
    start_log(&settings);
    // The ends that our starter left open are for nobody below us.
    if let Err(errno) = sys::process::cloexec_from(3) {
        tracing::warn!(%errno, "close-on-exec");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("corten")
        .build();
    let result = runtime
        .context("starting threads")
        .and_then(|runtime| runtime.block_on(run(*settings, &ready)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ready.failed(&format!("{error:#}"));
            tracing::error!("failed to start daemon: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings, ready: &Ready) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let _pidfile = settings
        .pidfile
        .as_deref()
        .map(pidfile::write)
        .transpose()?;
    let compute = Linux::new(compute_linux::Config {
        run_dir: settings.engine.exec_root.clone(),
        systemd_cgroups: settings.engine.systemd_cgroups,
    })
    .map_err(|error| anyhow::anyhow!("{error}"))?;
    let live_restore = settings.engine.live_restore;
    let engine = Engine::open(settings.engine, Arc::new(compute)).await?;
    let (stop, stopped) = watch::channel(false);
    let api = rest::Api::new(engine.clone(), settings.min_api_version);
    let sockets = listen::open(&settings.listen)?;
    for listener in sockets.listeners {
        tokio::spawn(rest::serve(api.clone(), listener, stopped.clone()));
    }
    drop(stopped);
    ready.succeeded();
    tracing::info!(hosts = ?settings.listen.hosts, "API listens");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => tracing::warn!(
                "of the settings only those of registries are read again, when they change: for \
                 others restart the daemon, containers go on"
            ),
        }
    }
    tracing::info!("stopping");
    for path in &sockets.paths {
        // Gone already when somebody else cleaned up.
        let _ = std::fs::remove_file(path);
    }
    if !live_restore {
        engine.stop_containers().await;
    }
    let _ = stop.send(true);
    // Answers under way are finished, streams that never end are not waited for.
    let _ = tokio::time::timeout(control::GRACE, stop.closed()).await;
    Ok(())
}

fn start_log(settings: &Settings) {
    use std::io::IsTerminal as _;
    let filter = tracing_subscriber::EnvFilter::new(settings.log_level);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(!settings.raw_logs && std::io::stderr().is_terminal())
        .init();
}

#[allow(clippy::print_stdout, reason = "what the user asked for")]
fn said(text: &str) -> ExitCode {
    println!("{text}");
    ExitCode::SUCCESS
}

#[allow(clippy::print_stderr, reason = "there is no log yet")]
fn complain(error: &anyhow::Error) -> ExitCode {
    eprintln!("{error:#}");
    ExitCode::FAILURE
}
