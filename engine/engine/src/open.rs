//! Opening the engine: what the state database says, compared with what the platform still knows.
//!
//! 1. rows are read;
//! 2. the platform is asked for every container that had a process;
//! 3. the bridge is opened with the endpoints of those that run;
//! 4. an owner is started for each, and the ends that nobody saw are written;
//! 5. what has no row (runs, directories) is swept in the background.
//!
//! Killed at any point, the next open does the same again.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use bridge::{Bridge, Ipv4Net, Restored};
use compute::{Adopted, Compute, Exit};
use state::{State, Table};
use tokio::sync::watch;

use crate::container::{Containers, wait_until};
use crate::events::Events;
use crate::exec::Execs;
use crate::owner::{self, Inherited, Request};
use crate::record::{Phase, Record};
use crate::{Config, Engine, Error, Inner, Live, Result, order};

/// How long a container that starts with the engine waits for those it depends on.
const PATIENCE: Duration = Duration::from_secs(60);
/// By how much a file's time may be behind the clock; file systems take that of the last tick.
const TICK: Duration = Duration::from_millis(20);

impl Engine {
    /// Opens the engine over a data root and takes over what an earlier one left running. `live` may
    /// be changed by [`Engine::reload`].
    ///
    /// # Errors
    /// When the state cannot be read or the bridge cannot be made.
    pub async fn open(config: Config, live: Live, compute: Arc<dyn Compute>) -> Result<Self> {
        let system = |what: &str, error: String| Error::system(format!("{what}: {error}"));
        crate::log_drivers::check_default(&config)?;
        for dir in [&config.data_root, &config.exec_root] {
            private_dir(dir)?;
        }
        for dir in ["containers", "volumes"] {
            private_dir(&config.data_root.join(dir))?;
        }
        private_dir(&config.exec_root.join("files"))?;
        let lock = lock(&config.exec_root)?;
        let state = State::open(&config.data_root.join("state.redb"))
            .map_err(|error| Error::system(error.to_string()))?;
        let state = Arc::new(state);
        state.log().limit(live.events);
        let images = images::Images::open(&config.data_root, state.database())
            .map_err(|error| system("image store", error.to_string()))?;
        images.set_policy(config.image_policy);
        let rows = state
            .load::<Record>(Table::Containers)
            .map_err(|error| Error::system(error.to_string()))?;
        let volumes = crate::volumes::Volumes::load(&state, &config.data_root)?;
        let found = adopt_all(&compute, rows).await;
        let inner = Arc::new(Inner {
            _lock: lock,
            bridge: OnceLock::new(),
            containers: Containers::default(),
            events: Events::new(Arc::clone(&state)),
            volumes,
            execs: Execs::default(),
            id_blocks: std::sync::Mutex::default(),
            hosts: std::sync::Mutex::default(),
            shipping: crate::log_drivers::Shipping::default(),
            health_checks: crate::inside::HealthChecks::default(),
            started: std::time::Instant::now(),
            ending: std::sync::atomic::AtomicBool::new(false),
            scrubbing: Arc::default(),
            registries: crate::registries::Registries::new(&config, &live),
            lazy: crate::lazy::Lazy::of(&config, &live),
            live: RwLock::new(Arc::new(live)),
            config,
            state,
            compute,
            images,
        });
        open_bridge(&inner, &found).await?;
        let mut waiting = Vec::new();
        let mut ended = Vec::new();
        for (mut record, inherited) in found {
            let has_ended = matches!(inherited, Inherited::Exited(_));
            if matches!(inherited, Inherited::Restart) {
                // Those that depend on it see from the first that it is still to come.
                record.state.phase = Phase::Restarting;
                waiting.push(record.id.clone());
            }
            // Names were unique when they were written.
            let _ = inner.containers.reserve_name(&record.name, &record.id);
            let container = owner::spawn(Arc::clone(&inner), record, inherited);
            let snapshot = container.snapshot.clone();
            inner.containers.insert(container);
            crate::log_drivers::resume(&inner, &snapshot.borrow());
            if has_ended {
                ended.push(snapshot);
            }
        }
        told(ended).await;
        start_in_order(&inner, &waiting);
        crate::image_ops::ensure_builtin(&inner)?;
        tokio::spawn(crate::image_ops::collect::keep_small(Arc::downgrade(
            &inner,
        )));
        crate::lazy::begin(&inner)?;
        // Before there can be new ones.
        crate::image_ops::commit::resume_interrupted(&inner).await;
        let sweeping = Arc::clone(&inner);
        tokio::spawn(async move { sweep(&sweeping).await });
        Ok(Self(inner))
    }
}

/// Waits until the ends that nobody saw are written: no client is told that such a container runs.
async fn told(ended: Vec<watch::Receiver<Arc<Record>>>) {
    for snapshot in ended {
        let done = |record: &Record| !record.state.phase.is_alive();
        let written = wait_until(snapshot, done);
        if tokio::time::timeout(PATIENCE, written).await.is_err() {
            tracing::warn!("a container's end is not written yet");
        }
    }
}

/// Starts those that their policies want to run, each once what it needs is settled.
fn start_in_order(inner: &Arc<Inner>, waiting: &[String]) {
    let all: Vec<_> = inner.containers.all().iter().map(|c| c.record()).collect();
    for id in waiting {
        let Ok(container) = inner.containers.find(id) else {
            continue;
        };
        let needs = order::needs(inner, &container.record(), &all);
        let inner = Arc::clone(inner);
        tokio::spawn(async move {
            let settled = async {
                for (id, need) in needs {
                    if let Ok(other) = inner.containers.find(&id) {
                        let done = |record: &Record| need.is_settled(record);
                        wait_until(other.snapshot.clone(), done).await;
                    }
                }
            };
            // Those that need each other would wait for ever.
            if tokio::time::timeout(PATIENCE, settled).await.is_err() {
                tracing::warn!(id = %container.id, "started before what it depends on");
            }
            let _ = container.ask(Request::YourTurn).await;
        });
    }
}

/// What became of each, and what its owner begins with.
async fn adopt_all(
    compute: &Arc<dyn Compute>,
    rows: Vec<(String, Record)>,
) -> Vec<(Record, Inherited)> {
    let asked = rows.into_iter().map(|(_, record)| {
        let compute = Arc::clone(compute);
        tokio::spawn(async move {
            let had_process =
                record.state.phase.is_alive() || record.state.phase == Phase::Restarting;
            // A row is written after the start: a crash in between leaves a run without it.
            let adopted = match compute.adopt(&record.id).await {
                // Its end was written, or its start never was: only traces of it are left, which
                // would be in the way of the next run.
                Ok(Adopted::Exited(_)) if !had_process => {
                    if let Err(error) = compute.release(&record.id).await {
                        tracing::warn!(id = %record.id, %error, "clearing a container's run");
                    }
                    Adopted::Gone
                }
                Ok(adopted) => adopted,
                Err(error) => {
                    tracing::warn!(id = %record.id, %error, "taking over a container");
                    Adopted::Gone
                }
            };
            inherit(record, had_process, adopted)
        })
    });
    let mut found = Vec::new();
    for task in asked.collect::<Vec<_>>() {
        if let Ok(one) = task.await {
            found.push(one);
        }
    }
    found
}

fn inherit(mut record: Record, had_process: bool, adopted: Adopted) -> (Record, Inherited) {
    let inherited = match adopted {
        Adopted::Running(running) => {
            let state = &mut record.state;
            state.pid = running.pid;
            state.started_at = crate::clock::nanos(running.started_at);
            state.phase = match running.paused {
                true => Phase::Paused,
                false => Phase::Running,
            };
            Inherited::Running(running)
        }
        Adopted::Exited(exit) if had_process => Inherited::Exited(exit),
        Adopted::Gone if had_process && record.state.phase != Phase::Restarting => {
            // The host was restarted, or everything was killed: nobody saw its status.
            Inherited::Exited(Exit {
                code: 255,
                oom_killed: false,
                finished_at: std::time::SystemTime::now(),
                error: None,
            })
        }
        _ if record.state.phase == Phase::Removing => Inherited::Removal,
        _ if record.state.phase == Phase::Restarting => Inherited::Restart,
        _ => match record.host.restart_policy.name.as_str() {
            "always" if record.state.started_at != 0 => Inherited::Restart,
            "unless-stopped" if record.state.started_at != 0 && !record.state.manually_stopped => {
                Inherited::Restart
            }
            _ => Inherited::Nothing,
        },
    };
    (record, inherited)
}

async fn open_bridge(inner: &Arc<Inner>, found: &[(Record, Inherited)]) -> Result<()> {
    let Some(asked) = inner.config.bridge.clone() else {
        return Ok(());
    };
    let running = found
        .iter()
        .filter(|(_, inherited)| matches!(inherited, Inherited::Running(_)));
    let restored: Vec<Restored> = running
        .filter_map(|(record, _)| {
            let endpoint = record.endpoint.as_ref()?;
            Some(Restored {
                endpoint_id: endpoint.id.clone(),
                ip: endpoint.ip.parse().ok()?,
                mac: mac(&endpoint.mac)?,
                veth: endpoint.veth.clone(),
                ports: endpoint.ports.clone(),
            })
        })
        .collect();
    let net = |(address, prefix): (std::net::Ipv4Addr, u8)| -> Result<Ipv4Net> {
        format!("{address}/{prefix}")
            .parse()
            .map_err(|error| Error::invalid(format!("{error}")))
    };
    let config = bridge::Config {
        bridge: asked.name,
        address: asked.address.map(net).transpose()?,
        mtu: if asked.mtu == 0 { 1500 } else { asked.mtu },
        ip_forward: asked.ip_forward,
        ip_masq: asked.ip_masq,
        icc: asked.icc,
        default_binding: asked.default_ip,
        fixed_cidr: asked.fixed_cidr.map(net).transpose()?,
        userland_proxy: asked.userland_proxy,
        ..bridge::Config::default()
    };
    let opened = tokio::task::spawn_blocking(move || Bridge::open(config, restored))
        .await
        .map_err(|_| Error::system("opening the bridge was interrupted"))?
        .map_err(|error| Error::system(format!("default bridge network: {error}")))?;
    let _ = inner.bridge.set(opened);
    Ok(())
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).ok())
        .collect();
    bytes?.try_into().ok()
}

/// Removes what has no row: half-made creates, half-done removals, runs nobody owns.
async fn sweep(inner: &Arc<Inner>) {
    let known: HashSet<String> = inner
        .containers
        .all()
        .iter()
        .map(|c| c.id.clone())
        .collect();
    match inner.compute.known().await {
        Ok(runs) => {
            for id in runs.into_iter().filter(|id| !known.contains(id)) {
                // Made after the list above was taken.
                if inner.containers.find(&id).is_ok() {
                    continue;
                }
                if let Err(error) = inner.compute.release(&id).await {
                    tracing::warn!(%id, %error, "sweeping an orphaned run");
                }
            }
        }
        Err(error) => tracing::warn!(%error, "listing runs"),
    }
    let inner = Arc::clone(inner);
    let directories = move || {
        for (root, on_disk) in [
            (inner.config.data_root.join("containers"), true),
            (inner.config.exec_root.join("files"), false),
        ] {
            for entry in std::fs::read_dir(&root).into_iter().flatten().flatten() {
                let id = entry.file_name().to_string_lossy().into_owned();
                if id.len() != 64 || known.contains(&id) || inner.is_being_made(&entry.path()) {
                    continue;
                }
                if on_disk {
                    inner.images.discard(&entry.path());
                } else {
                    let _ = std::fs::remove_dir_all(entry.path());
                }
            }
        }
    };
    let _ = tokio::task::spawn_blocking(directories).await;
}

impl Inner {
    /// Whether a directory is younger than this engine: then it belongs to a create under way.
    fn is_being_made(&self, dir: &Path) -> bool {
        let age = dir
            .symlink_metadata()
            .and_then(|facts| facts.modified())
            .ok();
        age.and_then(|modified| modified.elapsed().ok())
            .is_none_or(|age| age < self.started.elapsed() + TICK)
    }
}

/// The exec root is one daemon's: another one, which does not know its containers, would sweep them
/// away. Let go when the process ends, however it does.
fn lock(exec_root: &Path) -> Result<File> {
    let path = exec_root.join("lock");
    let failed = |error: std::io::Error| Error::system(format!("{}: {error}", path.display()));
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::system(format!(
            "exec root {}: another daemon uses it",
            exec_root.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Makes a directory that only root can enter.
fn private_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o710)
        .create(dir)
        .map_err(|error| Error::system(format!("mkdir {}: {error}", dir.display())))
}
