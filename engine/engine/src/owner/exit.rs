//! What follows when a container ends: its status, its restart policy, its removal.

use std::sync::Arc;
use std::time::Duration;

use compute::{Exit, Notice};
use dockerapi::RestartPolicy;

use super::Owner;
use super::launch::after;
use crate::record::{Phase, State};
use crate::{clock, events};

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// A run of this length, in nanoseconds, starts the backoff anew.
const STEADY: i64 = 10_000_000_000;

impl Owner {
    pub(super) async fn noticed(&mut self, notice: Option<Notice>) {
        match notice {
            Some(Notice::Oom) => {
                self.record.state.oom_killed = true;
                self.inner
                    .events
                    .publish(events::container(&self.record, "oom", &[]));
                self.show();
            }
            Some(Notice::Exited(exit)) => self.exited(exit).await,
            // The platform gave up without a status.
            None => {
                let exit = Exit {
                    code: 137,
                    oom_killed: false,
                    finished_at: std::time::SystemTime::now(),
                    error: Some("the container's keeper is gone".into()),
                };
                self.exited(exit).await;
            }
        }
    }

    pub(super) async fn exited(&mut self, exit: Exit) {
        self.notices = None;
        self.watch_off();
        let state = &mut self.record.state;
        state.phase = Phase::Exited;
        state.pid = 0;
        state.exit_code = exit.code;
        state.oom_killed |= exit.oom_killed;
        state.error = exit.error.unwrap_or_default();
        state.finished_at = clock::nanos(exit.finished_at);
        state.exits += 1;
        let ran = (state.finished_at - state.started_at).max(0);
        let again =
            !self.inner.is_ending() && should_restart(&self.record.host.restart_policy, state);
        let extra = [
            ("exitCode", state.exit_code.to_string()),
            ("execDuration", (ran / 1_000_000_000).to_string()),
        ];
        let die = events::container(&self.record, "die", &extra);
        self.disconnect().await;
        self.clear();
        if self.record.host.auto_remove && !again {
            self.take_away_with(vec![die], true).await;
            return;
        }
        if again {
            self.backoff = next_backoff(self.backoff, ran);
            self.record.state.phase = Phase::Restarting;
            self.record.state.restart_count += 1;
            self.restart_at = Some(after(self.backoff));
        }
        if let Err(error) = self.commit(vec![die]).await {
            tracing::error!(id = %self.record.id, %error, "end not written");
        }
    }

    /// Takes the run's traces away in the background; the next start waits for it.
    pub(super) fn clear(&mut self) {
        let (inner, id) = (Arc::clone(&self.inner), self.record.id.clone());
        self.clearing = Some(tokio::spawn(async move {
            if let Err(error) = inner.compute.release(&id).await {
                tracing::warn!(%id, %error, "clearing a container's run");
            }
        }));
    }
}

/// How long the next restart waits: twice as long as the last one did, unless the run of `ran`
/// nanoseconds was a steady one. As moby's restart manager.
fn next_backoff(last: Duration, ran: i64) -> Duration {
    let last = if ran >= STEADY { Duration::ZERO } else { last };
    (last * 2).clamp(FIRST_BACKOFF, LONGEST_BACKOFF)
}

/// The policy's word after an end.
pub(crate) fn should_restart(policy: &RestartPolicy, state: &State) -> bool {
    if state.manually_stopped {
        return false;
    }
    match policy.name.as_str() {
        "always" | "unless-stopped" => true,
        "on-failure" => {
            let most = u32::try_from(policy.maximum_retry_count).unwrap_or(u32::MAX);
            state.exit_code != 0 && (most == 0 || state.restart_count < most)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use dockerapi::RestartPolicy;

    use std::time::Duration;

    use crate::record::State;

    #[test]
    fn restarts_wait_longer_and_longer_until_a_run_is_steady() {
        let mut waits = Vec::new();
        let mut last = Duration::ZERO;
        for _ in 0..12 {
            last = super::next_backoff(last, 9_999_999_999);
            waits.push(last.as_millis());
        }
        let expected = [
            100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000,
        ];
        assert_eq!(waits, expected);
        last = super::next_backoff(last, 10_000_000_000);
        assert_eq!(last.as_millis(), 100);
    }

    #[test]
    fn policies() {
        let restarts = |name: &str, max, exit_code, restart_count, manually_stopped| {
            let policy = RestartPolicy {
                name: name.into(),
                maximum_retry_count: max,
            };
            let state = State {
                exit_code,
                restart_count,
                manually_stopped,
                ..State::default()
            };
            super::should_restart(&policy, &state)
        };
        assert!(!restarts("no", 0, 1, 0, false));
        assert!(restarts("always", 0, 0, 9, false));
        assert!(!restarts("always", 0, 0, 0, true));
        assert!(restarts("on-failure", 0, 1, 100, false));
        assert!(!restarts("on-failure", 0, 0, 0, false));
        assert!(restarts("on-failure", 2, 1, 1, false));
        assert!(!restarts("on-failure", 2, 1, 2, false));
    }
}
