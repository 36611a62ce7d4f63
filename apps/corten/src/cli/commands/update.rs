//! `update`.

use dockerapi::{Resources, UpdateBody};

use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::options::{limits, mount};
use crate::cli::out;

/// `update`.
pub(super) async fn run(call: &Call) -> Outcome {
    let flags = &call.flags;
    let any = call.flags.any();
    if !any {
        return Err("you must provide one or more flags when using this command".into());
    }
    let body = UpdateBody {
        resources: Resources {
            blkio_weight: u16::try_from(flags.int("blkio-weight")).unwrap_or(0),
            cpu_period: flags.int("cpu-period"),
            cpu_quota: flags.int("cpu-quota"),
            cpu_realtime_period: flags.int("cpu-rt-period"),
            cpu_realtime_runtime: flags.int("cpu-rt-runtime"),
            cpu_shares: flags.int("cpu-shares"),
            nano_cpus: flags.quantity("cpus"),
            cpuset_cpus: flags.text("cpuset-cpus").into(),
            cpuset_mems: flags.text("cpuset-mems").into(),
            memory: flags.quantity("memory"),
            memory_reservation: flags.quantity("memory-reservation"),
            memory_swap: flags.quantity("memory-swap"),
            pids_limit: flags.changed("pids-limit").then(|| flags.int("pids-limit")),
            ..Resources::default()
        },
        restart_policy: limits::restart(flags.text("restart"))?,
        labels_add: flags
            .list("label-add")
            .into_iter()
            .map(|label| match label.split_once('=') {
                Some((key, value)) => (key.to_owned(), value.to_owned()),
                None => (label, String::new()),
            })
            .collect(),
        labels_remove: flags.list("label-rm"),
        mounts_add: flags
            .list("mount-add")
            .iter()
            .map(|text| mount::parse(text))
            .collect::<Result<_, _>>()?,
        mounts_remove: flags.list("mount-rm"),
    };
    let client = call.app.client().await?;
    let mut warnings = Vec::new();
    let mut errors = Vec::new();
    for name in &flags.args {
        match client.container_update(name, &body).await {
            Ok(answer) => {
                out::line(name);
                warnings.extend(answer.warnings.unwrap_or_default());
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
    if !warnings.is_empty() {
        out::line(&warnings.join("\n"));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::new(errors.join("\n")))
}
