//! The log that engines read back for the reason of a failure: one line an entry, as logrus
//! writes it, text or JSON.

use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use super::clock;
use super::fail::{During, Fail, Result};

/// Where to and how.
#[derive(Debug, Default)]
pub(crate) struct Log {
    file: Option<OwnedFd>,
    json: bool,
    debug: bool,
}

impl Log {
    /// `path` empty is stderr; `format` is `text`, `json` or empty.
    pub(crate) fn open(path: &str, format: &str, debug: bool) -> Result<Self> {
        let json = match format {
            "" | "text" => false,
            "json" => true,
            other => return Err(Fail::Said(format!("invalid log-format: {other}"))),
        };
        let file = match path {
            "" => None,
            path => {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
                let mode = Mode::from_raw_mode(0o644);
                Some(rustix::fs::open(path, flags, mode).during("open", path)?)
            }
        };
        Ok(Self { file, json, debug })
    }

    /// Shown only with `--debug`.
    pub(crate) fn debug(&self, message: &str) {
        if self.debug {
            self.write("debug", message);
        }
    }

    /// With `--debug`: a process is there. What is said of the steps of its life begins with
    /// runc's words, for which logs are searched.
    pub(crate) fn born(&self, pid: u32) {
        self.debug(&format!("nsexec container setup: process {pid} is there"));
    }

    /// With `--debug`: it is in the container.
    pub(crate) fn built(&self, pid: u32) {
        self.debug(&format!(
            "child process in init(): {pid} is in the container"
        ));
        self.debug("init: closing the pipe to signal completion");
    }

    /// With `--debug`: how a seccomp filter is loaded.
    pub(crate) fn filter_flags(&self, filter: &runtime::Filter) {
        self.debug(&format!("seccomp filter flags: {}", filter.flags));
    }

    /// Something to know of a command that succeeds all the same.
    pub(crate) fn warn(&self, message: &str) {
        self.write("warning", message);
    }

    /// Why the command fails: in the log, and on stderr where that is not the log.
    pub(crate) fn error(&self, message: &str) {
        self.write("error", message);
        if self.file.is_some() {
            let _ = writeln!(std::io::stderr(), "{message}");
        }
    }

    fn write(&self, level: &str, message: &str) {
        let line = match self.json {
            true => format!(
                "{{\"level\":\"{level}\",\"msg\":{},\"time\":\"{}\"}}\n",
                serde_json::Value::from(message),
                clock::seconds()
            ),
            false => format!(
                "time=\"{}\" level={level} msg={}\n",
                clock::seconds(),
                quoted(message)
            ),
        };
        // A log that cannot be written must not decide how the command ends.
        let _ = match &self.file {
            Some(file) => rustix::io::write(file, line.as_bytes()).map(drop),
            None => {
                let _ = std::io::stderr().write_all(line.as_bytes());
                Ok(())
            }
        };
    }
}

/// As Go's `%q`, unless the text is one plain word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_logrus_does() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("two words"), "\"two words\"");
        assert_eq!(quoted("a \"b\"\n"), "\"a \\\"b\\\"\\n\"");
    }
}
