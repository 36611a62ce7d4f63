//! The progress of pulls, loads and imports: lines that are redrawn in place on a terminal, plain
//! lines of changed states elsewhere.

use std::time::Instant;

use dockerapi::{JsonMessage, ProgressDetail};

use super::failure::{Failure, Outcome};
use super::{out, units};

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
    /// IDs in the order of their lines.
    lines: Vec<String>,
    started: Instant,
}

impl Display {
    /// On this stream.
    pub(crate) fn new(target: Target) -> Self {
        let terminal = match target {
            Target::Output => out::is_terminal(),
            Target::Error => rustix::termios::isatty(rustix::stdio::stderr()),
        };
        Self {
            target: Some(target),
            terminal,
            lines: Vec::new(),
            started: Instant::now(),
        }
    }

    /// Nowhere; errors are still errors.
    pub(crate) fn quiet() -> Self {
        Self {
            target: None,
            terminal: false,
            lines: Vec::new(),
            started: Instant::now(),
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
        let detail = message.progress_detail.as_ref();
        let moving = detail.is_some_and(|detail| *detail != ProgressDetail::default());
        if !self.terminal {
            if !moving {
                self.write(&plain(message));
            }
            return Ok(());
        }
        if message.id.is_empty() || (detail.is_none() && message.progress.is_empty()) {
            if !message.id.is_empty() {
                self.redraw(message, None);
            } else {
                self.lines.clear();
                self.write(&plain(message));
            }
            return Ok(());
        }
        self.redraw(message, detail.filter(|_| moving));
        Ok(())
    }

    /// Draws the line of the message's ID, wherever it stands above the cursor.
    fn redraw(&mut self, message: &JsonMessage, detail: Option<&ProgressDetail>) {
        let at = match self.lines.iter().position(|id| *id == message.id) {
            Some(at) => at,
            None => {
                self.write("\n");
                self.lines.push(message.id.clone());
                self.lines.len() - 1
            }
        };
        let up = self.lines.len() - at;
        let mut text = format!("\x1b[{up}A\x1b[2K\r{}: {} ", message.id, message.status);
        if let Some(detail) = detail {
            text.push_str(&self.bar(detail));
        }
        text.push_str(&format!("\x1b[{up}B\r"));
        self.write(&text);
    }

    fn bar(&self, detail: &ProgressDetail) -> String {
        let current = units::decimal_size(detail.current as f64, 4, "");
        if detail.total == 0 {
            return format!("{current:>8}");
        }
        let width = usize::from(super::tty::size().1).max(80);
        let mut text = String::new();
        if width > 110 {
            let done = usize::try_from(detail.current.saturating_mul(50) / detail.total)
                .unwrap_or(50)
                .min(50);
            let head = if done < 50 { ">" } else { "" };
            let rest = 50usize.saturating_sub(done + head.len());
            text.push_str(&format!(
                "[{}{head}{}] ",
                "=".repeat(done),
                " ".repeat(rest)
            ));
        }
        let total = units::decimal_size(detail.total as f64, 4, "");
        text.push_str(&format!("{current:>8}/{total}"));
        let elapsed = self.started.elapsed().as_secs();
        if width > 50 && detail.current > 0 && detail.current < detail.total && elapsed > 0 {
            let left = elapsed.saturating_mul(detail.total - detail.current) / detail.current;
            if left > 0 {
                text.push_str(&format!(" {}", units::short_duration(left)));
            }
        }
        text
    }

    fn write(&self, text: &str) {
        match self.target {
            Some(Target::Output) => out::print(text),
            Some(Target::Error) => out::write_error(text.as_bytes()),
            None => {}
        }
    }
}

fn plain(message: &JsonMessage) -> String {
    if !message.stream.is_empty() {
        return message.stream.clone();
    }
    if message.id.is_empty() {
        format!("{}\n", message.status)
    } else {
        format!("{}: {}\n", message.id, message.status)
    }
}
