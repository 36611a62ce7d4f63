//! Health checks: what is asked of a container's, and what its results come to. Pure; the owner
//! runs the checks. Rules and texts are moby's (`daemon/health.go`).

use std::time::Duration;

use dockerapi::{ContainerConfig, Health, HealthcheckResult, Map};
use oci::image::Healthcheck;

use crate::{Error, Result};

/// What is done when a container turns unhealthy: an addition of ours, asked for by this label.
pub(crate) const ACTION_LABEL: &str = "io.corten.unhealthy-action";

/// Bytes of a check's output that are kept.
pub(crate) const OUTPUT_LIMIT: usize = 4096;
/// Results that are kept.
const KEPT: usize = 5;
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_START_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_RETRIES: i64 = 3;
/// The shortest time that may be asked for.
const SHORTEST: i64 = 1_000_000;

/// Not known yet.
pub(crate) const STARTING: &str = "starting";
/// The last check succeeded, or too few failed since.
pub(crate) const HEALTHY: &str = "healthy";
/// Too many checks in a row failed, or none are made.
pub(crate) const UNHEALTHY: &str = "unhealthy";

/// What follows when a container turns unhealthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is stopped and started.
    Restart,
    /// It is stopped, as by the user.
    Stop,
    /// It is killed; its restart policy may start it again.
    Kill,
}

/// The action that a container's labels ask for.
///
/// # Errors
/// Invalid parameter, for a word that is none.
pub(crate) fn action(labels: &Map<String>) -> Result<Option<Action>> {
    match labels.get(ACTION_LABEL).map(String::as_str) {
        None | Some("none") => Ok(None),
        Some("restart") => Ok(Some(Action::Restart)),
        Some("stop") => Ok(Some(Action::Stop)),
        Some("kill") => Ok(Some(Action::Kill)),
        Some(other) => Err(Error::invalid(format!(
            "invalid label {ACTION_LABEL}: {other:?}; use one of 'none', 'restart', 'stop', or \
             'kill'"
        ))),
    }
}

/// Checks what a client asks for.
///
/// # Errors
/// Invalid parameter.
pub(crate) fn verify(check: &Healthcheck) -> Result<()> {
    for (value, what) in [
        (check.interval, "Interval"),
        (check.timeout, "Timeout"),
        (check.start_period, "StartPeriod"),
        (check.start_interval, "StartInterval"),
    ] {
        if value != 0 && value < SHORTEST {
            return Err(Error::invalid(format!(
                "{what} in Healthcheck cannot be less than 1ms"
            )));
        }
    }
    if check.retries < 0 {
        return Err(Error::invalid("Retries in Healthcheck cannot be negative"));
    }
    Ok(())
}

/// The command of a container's check; `None` when there is none to run.
pub(crate) fn command(config: &ContainerConfig) -> Option<Vec<String>> {
    let (kind, words) = config.healthcheck.as_ref()?.test.split_first()?;
    match kind.as_str() {
        "CMD" => Some(words.to_vec()),
        "CMD-SHELL" => {
            let mut command = match config.shell.as_slice() {
                [] => vec!["/bin/sh".to_owned(), "-c".to_owned()],
                shell => shell.to_vec(),
            };
            command.extend_from_slice(words);
            Some(command)
        }
        _ => None,
    }
}

/// How long one check may take.
pub(crate) fn timeout(check: &Healthcheck) -> Duration {
    given(check.timeout, DEFAULT_TIMEOUT)
}

/// The time until the next check. `ran`: how long the container has run.
pub(crate) fn interval(check: &Healthcheck, status: &str, ran: Duration) -> Duration {
    if status == STARTING && ran < given(check.start_period, Duration::ZERO) {
        given(check.start_interval, DEFAULT_START_INTERVAL)
    } else {
        given(check.interval, DEFAULT_INTERVAL)
    }
}

/// Takes a result in. `ran`: how long the container had run when the check began.
pub(crate) fn judge(
    health: &mut Health,
    check: &Healthcheck,
    ran: Duration,
    result: HealthcheckResult,
) {
    let failed = result.exit_code != 0;
    health.log.push(result);
    let surplus = health.log.len().saturating_sub(KEPT);
    health.log.drain(..surplus);
    if !failed {
        health.failing_streak = 0;
        HEALTHY.clone_into(&mut health.status);
        return;
    }
    let forgiven = health.status == STARTING && ran < given(check.start_period, Duration::ZERO);
    if forgiven {
        return;
    }
    health.failing_streak += 1;
    let retries = match check.retries {
        0 => DEFAULT_RETRIES,
        own => own,
    };
    if health.failing_streak >= retries {
        UNHEALTHY.clone_into(&mut health.status);
    }
}

fn given(nanos: i64, default: Duration) -> Duration {
    match u64::try_from(nanos) {
        Ok(0) | Err(_) => default,
        Ok(nanos) => Duration::from_nanos(nanos),
    }
}

/// A duration as Go prints it: `1m30s`, `2.5s`, `100ms`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let decimal = |value: u128, unit: u128, name: &str| {
        let mut text = (value / unit).to_string();
        let rest = value % unit;
        if rest != 0 {
            let digits = unit.ilog10() as usize;
            let fraction = format!("{rest:0digits$}");
            text.push('.');
            text.push_str(fraction.trim_end_matches('0'));
        }
        text + name
    };
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".into();
    }
    if nanos < 1_000 {
        return format!("{nanos}ns");
    }
    if nanos < 1_000_000 {
        return decimal(nanos, 1_000, "µs");
    }
    if nanos < 1_000_000_000 {
        return decimal(nanos, 1_000_000, "ms");
    }
    let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000, "s");
    let minutes = nanos / 60_000_000_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dockerapi::{ContainerConfig, Health, HealthcheckResult};
    use oci::image::Healthcheck;

    use super::{go_duration, interval, judge};

    const SECOND: i64 = 1_000_000_000;

    fn exit(code: i32) -> HealthcheckResult {
        HealthcheckResult {
            exit_code: code,
            ..HealthcheckResult::default()
        }
    }

    #[test]
    fn streaks_and_states() {
        let check = Healthcheck {
            retries: 2,
            start_period: 10 * SECOND,
            ..Healthcheck::default()
        };
        let mut health = Health {
            status: super::STARTING.into(),
            ..Health::default()
        };
        let mut steps = Vec::new();
        for (ran, code) in [(1, 1), (2, 1), (11, 1), (12, 1), (13, 0), (14, 1), (15, 9)] {
            judge(&mut health, &check, Duration::from_secs(ran), exit(code));
            steps.push((health.failing_streak, health.status.clone()));
        }
        let wanted = [
            (0, "starting"),
            (0, "starting"),
            (1, "starting"),
            (2, "unhealthy"),
            (0, "healthy"),
            (1, "healthy"),
            (2, "unhealthy"),
        ];
        assert_eq!(
            steps,
            wanted.map(|(streak, word)| (streak, word.to_owned()))
        );
        let codes: Vec<i32> = health.log.iter().map(|result| result.exit_code).collect();
        assert_eq!(codes, [1, 1, 0, 1, 9], "the last five");
    }

    #[test]
    fn intervals() {
        let check = Healthcheck {
            interval: 7 * SECOND,
            start_period: 10 * SECOND,
            start_interval: 2 * SECOND,
            ..Healthcheck::default()
        };
        let after = |status, ran| interval(&check, status, Duration::from_secs(ran)).as_secs();
        assert_eq!(after("starting", 1), 2);
        assert_eq!(after("starting", 10), 7);
        assert_eq!(after("healthy", 1), 7);
        let none = Healthcheck::default();
        assert_eq!(interval(&none, "starting", Duration::ZERO).as_secs(), 30);
    }

    #[test]
    fn commands() {
        let of = |test: &[&str], shell: &[&str]| {
            let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect();
            super::command(&ContainerConfig {
                healthcheck: Some(Healthcheck {
                    test: words(test),
                    ..Healthcheck::default()
                }),
                shell: words(shell),
                ..ContainerConfig::default()
            })
            .map(|command| command.join(" "))
        };
        assert_eq!(of(&["CMD", "a", "b"], &[]).as_deref(), Some("a b"));
        assert_eq!(
            of(&["CMD-SHELL", "x"], &[]).as_deref(),
            Some("/bin/sh -c x")
        );
        assert_eq!(
            of(&["CMD-SHELL", "x"], &["z", "-e"]).as_deref(),
            Some("z -e x")
        );
        assert_eq!(of(&["NONE"], &[]), None);
        assert_eq!(of(&[], &[]), None);
    }

    #[test]
    fn durations_as_go_has_them() {
        for (nanos, want) in [
            (0, "0s"),
            (1_500_000, "1.5ms"),
            (2_500_000_000, "2.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), want);
        }
    }
}
