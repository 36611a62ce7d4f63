//! The progress of pulls, loads and imports: lines that are redrawn in place on a terminal, plain
//! lines of changed states elsewhere.
//!
//! Lines, bars and movements of the cursor are docker's (`jsonmessage`). Behind the sizes of a bar
//! stand, where there is room, its speed and the time that is left: docker's CLI leaves a place for
//! the time, and dockerd tells nothing to put there.

use std::time::Instant;

use dockerapi::{JsonMessage, ProgressDetail};

use super::failure::{Failure, Outcome};
use super::{out, units};

/// Width where the terminal tells none.
const WIDTH: usize = 200;
/// Bars are drawn in wider terminals only, and times in those wider than the second.
const BARS: usize = 110;
const TIMES: usize = 50;
/// Milliseconds after which a speed says something.
const SOON: u128 = 1000;

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Shows messages.
#[derive(Debug)]
pub(crate) struct Display {
    target: Option<Target>,
    terminal: bool,
    /// In the order in which they stand, the last one above the cursor.
    lines: Vec<Line>,
    /// The one without an ID.
    single: Option<Line>,
}

/// A line that moves, and since when it does what it does.
#[derive(Debug)]
struct Line {
    id: String,
    status: String,
    began: Instant,
    /// Where it was then.
    from: u64,
}

impl Display {
    /// On this stream.
    pub(crate) fn new(target: Target) -> Self {
        let terminal = match target {
            Target::Output => out::is_terminal(),
            Target::Error => rustix::termios::isatty(rustix::stdio::stderr()),
        };
        Self::on(Some(target), terminal)
    }

    /// Nowhere; errors are still errors.
    pub(crate) fn quiet() -> Self {
        Self::on(None, false)
    }

    fn on(target: Option<Target>, terminal: bool) -> Self {
        Self {
            target,
            terminal,
            lines: Vec::new(),
            single: None,
        }
    }

    /// Shows one message.
    ///
    /// # Errors
    /// The message says that the work failed.
    pub(crate) fn show(&mut self, message: &JsonMessage) -> Outcome {
        if let Some(error) = &message.error_detail {
            if error.code == 401 {
                return Err("authentication is required".into());
            }
            return Err(Failure::new(error.message.clone()));
        }
        if !message.error.is_empty() {
            return Err(Failure::new(message.error.clone()));
        }
        if self.target.is_none() || message.aux.is_some() {
            return Ok(());
        }
        let width = match usize::from(super::tty::size().1) {
            0 => WIDTH,
            width => width,
        };
        let text = match self.terminal {
            true => self.drawn(message, width, Instant::now()),
            false => plain(message),
        };
        self.write(&text);
        Ok(())
    }

    /// What is sent to a terminal.
    fn drawn(&mut self, message: &JsonMessage, width: usize, now: Instant) -> String {
        let JsonMessage { id, status, .. } = message;
        let detail = message.progress_detail.as_ref();
        let moves = detail.is_some() || !message.progress.is_empty();
        if id.is_empty() || !moves {
            // What stands above is history from here on.
            self.lines.clear();
        }
        if !moves || !message.stream.is_empty() {
            self.single = None;
            return text(message);
        }
        let mut drawn = String::new();
        let mut up = 0;
        let line = if id.is_empty() {
            self.single.get_or_insert_with(|| Line::new(id, now))
        } else {
            let known = self.lines.iter().position(|line| line.id == *id);
            let at = known.unwrap_or_else(|| {
                drawn.push('\n');
                self.lines.push(Line::new(id, now));
                self.lines.len() - 1
            });
            up = self.lines.len() - at;
            &mut self.lines[at]
        };
        if up > 0 {
            drawn.push_str(&format!("\x1b[{up}A"));
        }
        drawn.push_str("\x1b[2K\r");
        if !id.is_empty() {
            drawn.push_str(&format!("{id}: "));
        }
        let bar = match detail {
            Some(detail) => line.bar(status, detail, width, now),
            None => message.progress.clone(),
        };
        drawn.push_str(&format!("{status} {bar}\r"));
        if up > 0 {
            drawn.push_str(&format!("\x1b[{up}B"));
        }
        drawn
    }

    fn write(&self, text: &str) {
        match self.target {
            Some(Target::Output) => out::print(text),
            Some(Target::Error) => out::write_error(text.as_bytes()),
            None => {}
        }
    }
}

impl Line {
    fn new(id: &str, now: Instant) -> Self {
        Self {
            id: id.to_owned(),
            status: String::new(),
            began: now,
            from: 0,
        }
    }

    /// `[====>     ]  1.2MB/3MB 400kB/s 4s`, as far as there is room.
    fn bar(&mut self, status: &str, detail: &ProgressDetail, width: usize, now: Instant) -> String {
        let ProgressDetail { current, total } = *detail;
        if self.status != status || current < self.from {
            status.clone_into(&mut self.status);
            (self.began, self.from) = (now, current);
        }
        if current == 0 && total == 0 {
            return String::new();
        }
        let size = |bytes: u64| units::human_size(as_float(bytes));
        let shown = size(current);
        let pace = (width > TIMES).then(|| self.pace(detail, now)).flatten();
        if total == 0 {
            let speed = pace.map_or(String::new(), |pace| format!(" {}/s", size(pace.speed)));
            return format!("{shown:>8}{speed}");
        }
        let mut text = String::new();
        if width > BARS {
            // Halves of percents; what comes to more than was told of is full.
            let done = usize::try_from(current.saturating_mul(100) / total / 2);
            let done = done.unwrap_or(50).min(50);
            let (done, left) = ("=".repeat(done), " ".repeat(50 - done));
            text.push_str(&format!("[{done}>{left}] "));
        }
        match current > total {
            true => text.push_str(&format!("{shown:>8}")),
            false => text.push_str(&format!("{shown:>8}/{}", size(total))),
        }
        if let Some(pace) = pace {
            let left = units::short_duration(pace.left);
            text.push_str(&format!(" {}/s {left}", size(pace.speed)));
        }
        text
    }

    /// How fast it moves; nothing at its end, and until that can be told. What was there when it began
    /// does not count.
    fn pace(&self, detail: &ProgressDetail, now: Instant) -> Option<Pace> {
        let millis = now.duration_since(self.began).as_millis();
        let moved = detail.current.saturating_sub(self.from);
        if millis < SOON || moved == 0 || (detail.total > 0 && detail.current >= detail.total) {
            return None;
        }
        let speed = u128::from(moved) * 1000 / millis;
        let left = u128::from(detail.total.saturating_sub(detail.current));
        Some(Pace {
            speed: u64::try_from(speed).unwrap_or(u64::MAX),
            left: u64::try_from(left * millis / u128::from(moved) / 1000).unwrap_or(u64::MAX),
        })
    }
}

/// Bytes in a second, and seconds left.
struct Pace {
    speed: u64,
    left: u64,
}

#[allow(
    clippy::cast_precision_loss,
    reason = "sizes are shown with four digits"
)]
fn as_float(bytes: u64) -> f64 {
    bytes as f64
}

/// What is written where nothing can be redrawn: bars are left out.
fn plain(message: &JsonMessage) -> String {
    let detail = message.progress_detail.as_ref();
    match detail.is_some_and(|detail| *detail != ProgressDetail::default()) {
        true => String::new(),
        false => text(message),
    }
}

fn text(message: &JsonMessage) -> String {
    let id = match message.id.as_str() {
        "" => String::new(),
        id => format!("{id}: "),
    };
    match message.stream.as_str() {
        "" => format!("{id}{}\n", message.status),
        stream => format!("{id}{stream}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn message(id: &str, status: &str, at: Option<(u64, u64)>) -> JsonMessage {
        JsonMessage {
            id: id.into(),
            status: status.into(),
            progress_detail: at.map(|(current, total)| ProgressDetail { current, total }),
            ..JsonMessage::default()
        }
    }

    #[test]
    fn lines_are_redrawn_as_docker_does() {
        let mut display = Display::on(None, true);
        let now = Instant::now();
        let mut draw = |id: &str, status: &str, at| {
            let message = message(id, status, at);
            display.drawn(&message, 120, now)
        };
        assert_eq!(draw("1", "Pulling from x", None), "1: Pulling from x\n");
        let step = Some((0, 0));
        assert_eq!(
            draw("a", "Pulling fs layer", step),
            "\n\x1b[1A\x1b[2K\ra: Pulling fs layer \r\x1b[1B"
        );
        assert_eq!(
            draw("b", "Waiting", step),
            "\n\x1b[1A\x1b[2K\rb: Waiting \r\x1b[1B"
        );
        assert_eq!(
            draw("a", "Downloading", Some((1_200_000, 3_000_000))),
            format!(
                "\x1b[2A\x1b[2K\ra: Downloading [{}>{}]    1.2MB/3MB\r\x1b[2B",
                "=".repeat(20),
                " ".repeat(30)
            )
        );
        assert_eq!(draw("", "Digest: x", None), "Digest: x\n");
        assert_eq!(
            draw("a", "Pull complete", step),
            "\n\x1b[1A\x1b[2K\ra: Pull complete \r\x1b[1B",
            "what was drawn before is left alone"
        );
        assert_eq!(
            draw("", "Importing", Some((9, 0))),
            "\x1b[2K\rImporting       9B\r"
        );
        assert_eq!(draw("", "", None), "\n");
    }

    #[test]
    fn speed_and_time_left_of_what_came_since() {
        let start = Instant::now();
        let mut line = Line::new("a", start);
        let mut bar = |current, seconds, width| {
            let detail = ProgressDetail {
                current,
                total: 10_000_000,
            };
            let now = start + Duration::from_secs(seconds);
            line.bar("Downloading", &detail, width, now)
        };
        // Half of it was there from before.
        assert_eq!(bar(5_000_000, 0, 100), "     5MB/10MB");
        assert_eq!(bar(6_000_000, 2, 100), "     6MB/10MB 500kB/s 8s");
        assert_eq!(bar(6_000_000, 2, 50), "     6MB/10MB");
        assert_eq!(bar(7_000_000, 100, 100), "     7MB/10MB 20kB/s 2m30s");
        assert_eq!(bar(10_000_000, 200, 100), "    10MB/10MB");
        assert_eq!(bar(11_000_000, 200, 100), "    11MB");
        let full = format!("[{}>]     10MB/10MB", "=".repeat(50));
        assert_eq!(bar(10_000_000, 200, 111), full);
    }

    #[test]
    fn without_a_terminal_there_are_no_bars() {
        assert_eq!(plain(&message("a", "Downloading", Some((1, 2)))), "");
        assert_eq!(
            plain(&message("a", "Pull complete", Some((0, 0)))),
            "a: Pull complete\n"
        );
        let loaded = JsonMessage {
            stream: "Loaded image: x\n".into(),
            ..JsonMessage::default()
        };
        assert_eq!(plain(&loaded), "Loaded image: x\n");
    }
}
