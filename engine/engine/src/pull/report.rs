//! What a pull tells its client: dockerd's lines, which the docker CLI draws by their texts and IDs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dockerapi::{JsonMessage, JsonMessageError, ProgressDetail};
use tokio::sync::mpsc;

use crate::{Error, ErrorKind};

/// Width of the bar in the `progress` of a message.
const BAR: u64 = 50;

/// The client's end. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    out: mpsc::Sender<JsonMessage>,
    /// Something was told: from then on failures are lines like others.
    began: Arc<AtomicBool>,
}

impl Report {
    pub(crate) fn new(out: mpsc::Sender<JsonMessage>) -> Self {
        Self {
            out,
            began: Arc::default(),
        }
    }

    /// Waits for the client to leave.
    pub(crate) async fn closed(&self) {
        self.out.closed().await;
    }

    /// One line of text.
    pub(crate) async fn say(&self, id: &str, status: String) {
        self.send(JsonMessage {
            status,
            id: id.to_owned(),
            ..JsonMessage::default()
        })
        .await;
    }

    /// A step in the life of a layer.
    pub(crate) async fn step(&self, id: &str, action: &str) {
        self.send(counted(id, action, 0, 0)).await;
    }

    /// How far a layer is; not told to a client that is behind.
    pub(crate) fn progress(&self, id: &str, action: &str, current: u64, total: u64) {
        let _ = self.out.try_send(counted(id, action, current, total));
    }

    /// How long is waited for another try; not told to a client that is behind.
    pub(crate) fn retrying(&self, id: &str, after: std::time::Duration) {
        let seconds = after.as_millis().div_ceil(1000);
        let plural = if seconds == 1 { "" } else { "s" };
        let text = format!("Retrying in {seconds} second{plural}");
        let _ = self.out.try_send(counted(id, &text, 0, 0));
    }

    /// A result, for programs.
    pub(crate) async fn aux(&self, value: serde_json::Value) {
        self.send(JsonMessage {
            aux: Some(value),
            ..JsonMessage::default()
        })
        .await;
    }

    /// The end of a pull that failed.
    pub(crate) async fn fail(&self, error: Error) {
        // A status of its own is only possible while nothing was sent.
        let code = match self.began.load(Ordering::Relaxed) {
            true => 0,
            false => status(error.kind),
        };
        let detail = JsonMessageError {
            code,
            message: error.message.clone(),
        };
        let error = JsonMessage {
            error: error.message,
            error_detail: Some(detail),
            ..JsonMessage::default()
        };
        self.send(error).await;
    }

    async fn send(&self, message: JsonMessage) {
        self.began.store(true, Ordering::Relaxed);
        // That the client left is noticed by `closed`.
        let _ = self.out.send(message).await;
    }
}

fn counted(id: &str, action: &str, current: u64, total: u64) -> JsonMessage {
    JsonMessage {
        status: action.to_owned(),
        progress_detail: Some(ProgressDetail { current, total }),
        progress: bar(current, total),
        id: id.to_owned(),
        ..JsonMessage::default()
    }
}

fn status(kind: ErrorKind) -> i32 {
    match kind {
        ErrorKind::NotFound => 404,
        ErrorKind::InvalidParameter => 400,
        ErrorKind::Conflict => 409,
        ErrorKind::Unauthorized => 401,
        ErrorKind::Forbidden => 403,
        ErrorKind::NotImplemented => 501,
        ErrorKind::Unavailable => 503,
        ErrorKind::System => 500,
    }
}

/// `[====>     ]  1.2MB/3MB`, for clients that draw none of their own.
fn bar(current: u64, total: u64) -> String {
    match (current, total) {
        (0, 0) => String::new(),
        (_, 0) => format!("{:>8}", human(current)),
        _ => {
            let done = (current.saturating_mul(BAR) / total).min(BAR);
            let (done, left) = ("=".repeat(width(done)), " ".repeat(width(BAR - done)));
            let (current, total) = (human(current), human(total));
            format!("[{done}>{left}] {current:>8}/{total}")
        }
    }
}

fn width(columns: u64) -> usize {
    usize::try_from(columns).unwrap_or_default()
}

/// Four significant digits and a decimal unit, as go-units writes sizes.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut whole, mut divisor, mut unit) = (bytes, 1u64, 0);
    while whole >= 1000 && unit + 1 < UNITS.len() {
        divisor *= 1000;
        whole = bytes / divisor;
        unit += 1;
    }
    let decimals = match whole {
        100.. => 1,
        10.. => 2,
        _ => 3,
    };
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let text = format!("{:.decimals$}", bytes as f64 / divisor as f64);
    format!(
        "{}{}",
        text.trim_end_matches('0').trim_end_matches('.'),
        UNITS[unit]
    )
}

#[cfg(test)]
mod tests {
    use super::{bar, human};

    #[test]
    fn sizes_as_go_units_writes_them() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (49_152, "49.15kB"),
            (821_033, "821kB"),
            (4_335_400, "4.335MB"),
            (3_000_000_000, "3GB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn bars_as_dockerd_draws_them() {
        let spaces = " ".repeat(50);
        assert_eq!(
            bar(49_152, 4_335_400),
            format!("[>{spaces}]  49.15kB/4.335MB")
        );
        assert_eq!(bar(10, 10), format!("[{}>]      10B/10B", "=".repeat(50)));
        assert_eq!(bar(0, 0), "");
        assert_eq!(bar(5, 0), "      5B");
    }
}
