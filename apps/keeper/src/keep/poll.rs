//! epoll with names instead of numbers.

use std::os::fd::AsFd;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// The daemon's connection.
    Control,
    /// A daemon wants to connect.
    Listener,
    /// The OOM killer.
    Oom,
    /// A rotated log file was compressed.
    Compressed,
    /// A process ended.
    Process(u32),
    /// A process wrote to stdout (0) or stderr (1).
    Output(u32, u32),
    /// A process's stdin takes bytes, or nobody reads it any more.
    Stdin(u32),
    /// A client (second number) of a process (first).
    Client(u32, u32),
}

impl Token {
    fn number(self) -> u64 {
        let (kind, process, item) = match self {
            Self::Control => (0, 0, 0),
            Self::Listener => (1, 0, 0),
            Self::Oom => (2, 0, 0),
            Self::Compressed => (7, 0, 0),
            Self::Process(p) => (3, p, 0),
            Self::Output(p, n) => (4, p, n),
            Self::Stdin(p) => (5, p, 0),
            Self::Client(p, n) => (6, p, n),
        };
        (kind << 56) | (u64::from(process & 0xff_ffff) << 32) | u64::from(item)
    }

    fn from_number(number: u64) -> Option<Self> {
        let process = ((number >> 32) & 0xff_ffff) as u32;
        let item = (number & 0xffff_ffff) as u32;
        Some(match number >> 56 {
            0 => Self::Control,
            1 => Self::Listener,
            2 => Self::Oom,
            3 => Self::Process(process),
            4 => Self::Output(process, item),
            5 => Self::Stdin(process),
            6 => Self::Client(process, item),
            7 => Self::Compressed,
            _ => return None,
        })
    }
}

/// Events waited for.
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: std::os::fd::OwnedFd,
}

/// Read interest.
pub(crate) const IN: EventFlags = EventFlags::IN;
/// Write interest.
pub(crate) const OUT: EventFlags = EventFlags::OUT;
/// Nothing but errors and hang-ups.
pub(crate) const NOTHING: EventFlags = EventFlags::empty();

impl Poll {
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
        })
    }

    pub(crate) fn add(&self, fd: impl AsFd, token: Token, on: EventFlags) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token.number()), on)
    }

    pub(crate) fn modify(&self, fd: impl AsFd, token: Token, on: EventFlags) {
        // Fails only for a descriptor that was never added.
        let _ = epoll::modify(&self.epoll, fd, EventData::new_u64(token.number()), on);
    }

    pub(crate) fn delete(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits; the events come in `into`.
    pub(crate) fn wait(&self, into: &mut Vec<(Token, EventFlags)>) -> Result<(), Errno> {
        const NONE: Event = Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let mut events = [NONE; 16];
        let n = match epoll::wait(&self.epoll, &mut events, None) {
            Err(Errno::INTR) => 0,
            other => other?,
        };
        into.clear();
        into.extend(events[..n].iter().filter_map(|event| {
            let (data, flags) = (event.data, event.flags);
            Token::from_number(data.u64()).map(|token| (token, flags))
        }));
        Ok(())
    }
}
