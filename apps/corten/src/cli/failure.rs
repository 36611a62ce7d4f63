//! How a command fails: the text for standard error and the exit code.

use std::io;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Printed with a line end, unless empty.
    pub(crate) text: String,
    /// Exit code.
    pub(crate) code: u8,
}

/// What commands return.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Exit code 1.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            code: 1,
        }
    }

    /// Nothing to say: the code alone, as of a container that ended with it.
    pub(crate) fn status(code: i64) -> Self {
        Self {
            text: String::new(),
            // Exit codes have eight bits, whatever the engine says.
            code: u8::try_from(code & 0xff).unwrap_or(1),
        }
    }

    /// The same with another exit code.
    #[must_use]
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(os_text(&error))
    }
}

/// An error of the system as Go words it: `no such file or directory`.
pub(crate) fn os_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = match text.split_once(" (os error") {
        Some((text, _)) => text,
        None => &text,
    };
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}
