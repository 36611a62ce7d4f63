//! `top`: the processes of a container as `ps` prints them, read from the host's /proc.
//!
//! No program is run: the options people give (`-ef`, `aux`, `-o pid,comm`, …) are understood
//! here (`options`) and the columns written here (`columns`) from one reading per process
//! (`process`).

use dockerapi::TopResponse;

use crate::record::Phase;
use crate::{Engine, Error, Result, events};

mod columns;
mod options;
mod process;

impl Engine {
    /// The processes of a running container. `ps_args` are ps options; `None` and empty are `-ef`.
    ///
    /// # Errors
    /// Invalid parameter for options that are not supported, conflict when it does not run.
    pub async fn container_top(&self, name: &str, ps_args: Option<&str>) -> Result<TopResponse> {
        let args = ps_args
            .filter(|args| !args.trim().is_empty())
            .unwrap_or("-ef");
        let columns = options::parse(args)?;
        let container = self.0.containers.find(name)?;
        if container.record().state.phase == Phase::Restarting {
            return Err(Error::conflict(format!(
                "Container {} is restarting, wait until the container is running",
                container.id
            )));
        }
        let record = container.alive()?;
        let pids = self.0.compute.processes(&record.id).await?;
        let response = tokio::task::spawn_blocking(move || list(&pids, &columns))
            .await
            .map_err(|_| Error::system("reading processes was interrupted"))?;
        self.0
            .events
            .publish(events::container(&record, "top", &[]));
        Ok(response)
    }
}

fn list(pids: &[u32], columns: &[options::Wanted]) -> TopResponse {
    let host = process::Host::read();
    let mut processes: Vec<_> = pids
        .iter()
        .filter_map(|pid| process::Process::read(*pid))
        .collect();
    processes.sort_by_key(|process| process.pid);
    TopResponse {
        titles: columns.iter().map(|column| column.title.clone()).collect(),
        processes: processes
            .iter()
            .map(|process| {
                columns
                    .iter()
                    .map(|c| (c.column.text)(process, &host))
                    .collect()
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{list, options};

    #[test]
    fn this_process() {
        let pid = std::process::id();
        for args in [
            "-ef",
            "aux",
            "-el",
            "ax",
            "-eo pid,ppid,user,comm,args,%cpu,%mem,vsz,rss,stat",
        ] {
            let columns = options::parse(args).expect(args);
            let top = list(&[pid, u32::MAX], &columns);
            assert_eq!(top.processes.len(), 1, "{args}");
            let at = top
                .titles
                .iter()
                .position(|title| title == "PID")
                .expect("a PID column");
            assert_eq!(top.processes[0][at], pid.to_string());
            assert!(
                top.processes[0].iter().all(|cell| !cell.is_empty()),
                "{args}: {top:?}"
            );
        }
    }
}
