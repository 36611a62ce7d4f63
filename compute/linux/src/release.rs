//! Taking every trace of a container away, also of one that an earlier daemon began.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use cgroup::Cgroup;
use compute::Result;
use keeper_protocol::directory;
use rustix::process::Signal;

use crate::adopt::cgroup_path;
use crate::{Shared, blocking, internal, units};

/// For a killed container's keeper to tell the end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Goes on after a failure and tells the first one.
pub(crate) async fn release(shared: &Arc<Shared>, id: &str) -> Result<()> {
    crate::launch::check_id(id)?;
    let dir = directory::of(&shared.config.run_dir, id);
    let cgroup = cgroup_path(&dir);
    if let Some(handle) = shared.containers.find(id) {
        let mut ended = handle.link.ended.subscribe();
        let _ = handle.signal(None, Signal::KILL.as_raw());
        drop(handle);
        // A frozen process dies only when thawed, which this does.
        let (own, path) = (Arc::clone(shared), cgroup.clone());
        blocking(move || kill_cgroup(&own, &path)).await?;
        let end = ended.wait_for(|ended| *ended);
        if tokio::time::timeout(PATIENCE, end).await.is_err() {
            return Err(internal(format!("container {id} does not end when killed")));
        }
    }
    let own = Arc::clone(shared);
    blocking(move || {
        let cgroup = remove_cgroup(&own, &cgroup);
        let files = match std::fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(internal(format!("remove {}: {e}", dir.display())))
            }
            _ => Ok(()),
        };
        cgroup.and(files)
    })
    .await
}

/// Kills everything in it.
pub(crate) fn kill_cgroup(shared: &Shared, path: &str) -> Result<()> {
    match open(shared, path)? {
        Some(cgroup) => cgroup.kill().map_err(internal),
        None => Ok(()),
    }
}

fn remove_cgroup(shared: &Shared, path: &str) -> Result<()> {
    let cgroup = open(shared, path)?;
    if let Some(cgroup) = &cgroup
        && !cgroup.procs().map_err(internal)?.is_empty()
    {
        cgroup.kill().map_err(internal)?;
    }
    let stopped = units::stop(path);
    let removed = cgroup.map_or(Ok(()), |cgroup| cgroup.remove().map_err(internal));
    stopped.and(removed)
}

/// Opens what is left of it, by the path in the specification.
pub(crate) fn open(shared: &Shared, path: &str) -> Result<Option<Cgroup>> {
    if path.is_empty() {
        return Ok(None);
    }
    let unit = units::unit(path)?.map(|unit| unit.path());
    Cgroup::open(&shared.layout, unit.as_deref().unwrap_or(path)).map_err(internal)
}
