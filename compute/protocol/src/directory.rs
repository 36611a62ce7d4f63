//! Files of a container's run directory, `<run>/containers/<id>/`, mode 0700.
//!
//! Everything a later daemon needs to find the container again or to clean up after it, written
//! before the thing it tells of exists.

use std::path::{Path, PathBuf};

/// Directory of all containers below the run directory.
pub const CONTAINERS: &str = "containers";

/// Listening socket of the keeper, mode 0600.
pub const SOCKET: &str = "keeper.sock";

/// JSON [`crate::Exit`]; appears, whole, when the container has ended.
pub const EXIT: &str = "exit";

/// Name under which `exit` is written before it is renamed.
pub const EXIT_PARTIAL: &str = "exit.partial";

/// The container's cgroup path as in its spec, UTF-8, no newline.
pub const CGROUP: &str = "cgroup";

/// JSON [`crate::Runtime`] of the container, where the built-in one is not it.
pub const RUNTIME: &str = "runtime.json";

/// The directory of one container.
pub fn of(run_dir: &Path, id: &str) -> PathBuf {
    run_dir.join(CONTAINERS).join(id)
}
