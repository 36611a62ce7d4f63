//! The daemon: reads its settings, opens the engine, listens, and ends when asked. Containers are
//! not its children: they go on without it.

mod control;
mod listen;
mod options;
mod pidfile;
mod remap;
mod runtimes;
mod settings;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use compute_linux::Linux;
use engine::Engine;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
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
    let again = args.clone();
    let settings = match settings::read(&args, called_dockerd) {
        Ok(Asked::Run(settings)) => settings,
        Ok(Asked::Said(text)) => return said(&text),
        Err(error) => {
            ready.failed(&format!("{error:#}"));
            return complain(&error);
        }
    };
    let level = start_log(&settings);
    let reading = Reading {
        args: again,
        called_dockerd,
        level,
    };
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
        .and_then(|runtime| runtime.block_on(run(*settings, &ready, &reading)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ready.failed(&format!("{error:#}"));
            tracing::error!("failed to start daemon: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// How to read the settings again.
struct Reading {
    args: Vec<String>,
    called_dockerd: bool,
    level: LevelHandle,
}

async fn run(settings: Settings, ready: &Ready, reading: &Reading) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (hangup, dump) = (
        signal(SignalKind::hangup())?,
        signal(SignalKind::user_defined1())?,
    );
    unserved();
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
    let engine = Engine::open(
        settings.engine.clone(),
        settings.live.clone(),
        Arc::new(compute),
    )
    .await?;
    let (stop, stopped) = watch::channel(false);
    let api = rest::Api::new(engine.clone(), settings.min_api_version);
    let mut daemon = Daemon {
        engine: engine.clone(),
        api,
        settings,
        paths: Vec::new(),
        hangup,
        dump,
    };
    // Whatever is waited for, an end is not: a plugin may be looked for for long.
    tokio::select! {
        failed = daemon.serve(stopped, ready, reading) => failed?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    control::stopping();
    for path in &daemon.paths {
        // Gone already when somebody else cleaned up.
        let _ = std::fs::remove_file(path);
    }
    if !engine.keeps_containers() {
        engine.stop_containers().await;
    }
    let _ = stop.send(true);
    // Answers under way are finished, streams that never end are not waited for.
    let _ = tokio::time::timeout(control::GRACE, stop.closed()).await;
    Ok(())
}

/// What serves clients and answers signals.
struct Daemon {
    engine: Engine,
    api: rest::Api,
    settings: Settings,
    /// Sockets to take away at the end.
    paths: Vec<PathBuf>,
    hangup: Signal,
    dump: Signal,
}

impl Daemon {
    /// Opens what clients connect to, and then does what signals ask for, until it is dropped.
    async fn serve(
        &mut self,
        stopped: watch::Receiver<bool>,
        ready: &Ready,
        reading: &Reading,
    ) -> Result<()> {
        self.open(stopped).await?;
        ready.succeeded();
        tracing::info!(hosts = ?self.settings.listen.hosts, "API listens");
        loop {
            tokio::select! {
                _ = self.dump.recv() => {
                    let written = write_state(&self.api, &self.settings.engine.exec_root).await;
                    if let Err(error) = written {
                        tracing::error!("the engine's state is not written: {error:#}");
                    }
                }
                _ = self.hangup.recv() => {
                    control::reloading();
                    reload(&self.engine, &self.api, &mut self.settings, reading).await;
                    ready.reloaded();
                }
            }
        }
    }

    async fn open(&mut self, stopped: watch::Receiver<bool>) -> Result<()> {
        let (api, settings) = (&self.api, &self.settings);
        api.authorize_by(&settings.authorization)
            .await
            .context("failed to validate authorization plugin")?;
        if let Some(address) = &settings.metrics {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("failed to start metrics server: listen tcp {address}"))?;
            tracing::info!(address, "metrics API listens");
            tokio::spawn(rest::serve_metrics(api.clone(), listener, stopped.clone()));
        }
        let sockets = listen::open(&settings.listen)?;
        self.paths = sockets.paths;
        for listener in sockets.listeners {
            tokio::spawn(rest::serve(api.clone(), listener, stopped.clone()));
        }
        Ok(())
    }
}

/// Says which of dockerd's variables are without effect.
fn unserved() {
    for name in [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    ] {
        if std::env::var_os(name).is_some_and(|value| !value.is_empty()) {
            tracing::warn!(
                name,
                "a variable without effect: traces are not supported yet"
            );
        }
    }
}

/// Where dockerd writes its goroutines' stacks at SIGUSR1: what `/debug/state` shows, in a file.
async fn write_state(api: &rest::Api, dir: &std::path::Path) -> Result<()> {
    let state = api.debug_state().await?;
    let path = dir.join(format!(
        "state-{}.json",
        jiff::Timestamp::now().as_millisecond()
    ));
    let text = serde_json::to_vec_pretty(&state)?;
    tokio::task::spawn_blocking({
        let path = path.clone();
        move || std::fs::write(path, text)
    })
    .await?
    .with_context(|| path.display().to_string())?;
    tracing::info!(path = %path.display(), "the engine's state is written");
    Ok(())
}

/// Reads the settings again. What is wrong with them is said, and nothing changes then.
async fn reload(engine: &Engine, api: &rest::Api, settings: &mut Settings, reading: &Reading) {
    let new = match settings::read(&reading.args, reading.called_dockerd) {
        Ok(Asked::Run(new)) => *new,
        Ok(Asked::Said(_)) => return,
        Err(error) => return tracing::error!("settings are not read again: {error:#}"),
    };
    // First, for it may fail. Requests go on as they did meanwhile.
    if let Err(error) = api.authorize_by(&new.authorization).await {
        return tracing::error!(%error, "settings are not taken: authorization plugin");
    }
    let (live, restart) = settings.changes(&new);
    if !restart.is_empty() {
        tracing::warn!(
            options = restart.join(", "),
            "changed, but taken only by a restart of the daemon: containers go on meanwhile"
        );
    }
    let level = tracing_subscriber::EnvFilter::new(new.log_level);
    if let Err(error) = reading.level.reload(level) {
        tracing::error!(%error, "log level not changed");
    }
    engine.reload(new.live).await;
    // What needs a restart is told at every reload until there was one.
    for (name, values) in new.given {
        if options::is_live(name)
            && let Some((_, known)) = settings.given.iter_mut().find(|(known, _)| *known == name)
        {
            *known = values;
        }
    }
    tracing::info!(changed = live.join(", "), "settings read again");
}

type LevelHandle =
    tracing_subscriber::reload::Handle<tracing_subscriber::EnvFilter, tracing_subscriber::Registry>;

/// Begins to log to standard error, and gives what changes the level.
fn start_log(settings: &Settings) -> LevelHandle {
    use std::io::IsTerminal as _;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let filter = tracing_subscriber::EnvFilter::new(settings.log_level);
    let (filter, handle) = tracing_subscriber::reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if settings.json_logs {
        registry.with(layer.json().flatten_event(true)).init();
    } else {
        let colour = !settings.raw_logs && std::io::stderr().is_terminal();
        registry.with(layer.with_ansi(colour)).init();
    }
    handle
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
