//! What can go wrong between us and the kernel.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// An error of a netlink exchange.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a request.
    #[error("{request}: {}{}", text(*errno), Explained(explanation.as_deref()))]
    Refused {
        /// What the request was to do: `create veth pair`.
        request: &'static str,
        /// Why not.
        errno: Errno,
        /// The kernel's explanation, where it gave one.
        explanation: Option<String>,
    },
    /// The socket itself failed.
    #[error("netlink {call}: {}", text(*errno))]
    Socket {
        /// Which call failed.
        call: &'static str,
        /// Why.
        errno: Errno,
    },
    /// A request is larger than netlink can say.
    #[error("{0}: request too large for netlink")]
    TooLarge(&'static str),
    /// An answer that is cut short or contradicts itself.
    #[error("malformed answer from netlink")]
    Malformed,
    /// No answer where one is owed.
    #[error("{0}: no answer from netlink")]
    Unanswered(&'static str),
}

impl Error {
    /// The errno in it, if the kernel gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Refused { errno, .. } | Error::Socket { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// For `map_err` on the socket's calls.
    pub(crate) fn socket(call: &'static str) -> impl FnOnce(Errno) -> Error {
        move |errno| Error::Socket { call, errno }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = error
            .errno()
            .map_or(io::ErrorKind::Other, |errno| io::Error::from(errno).kind());
        io::Error::new(kind, error)
    }
}

/// The message of an errno without the number that `io::Error` adds.
fn text(errno: Errno) -> String {
    let text = io::Error::from(errno).to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

struct Explained<'a>(Option<&'a str>);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(text) => write!(f, " ({text})"),
            None => Ok(()),
        }
    }
}
