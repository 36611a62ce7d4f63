//! What the daemon and a keeper say to each other.
//!
//! A stream socket carries frames both ways ([`Frame`]): a JSON message, raw bytes that would be
//! wasteful in JSON, and file descriptors. The daemon sends [`Call`]s, each answered by one
//! [`Message::Reply`] with its number; the keeper also sends [`Message::Event`]s on its own. The
//! first frame of a new keeper is [`Request::Launch`]; a daemon that was restarted connects to the
//! keeper's socket in its directory ([`directory`]) and begins with [`Request::Adopt`].
//!
//! ```text
//!   daemon                         keeper
//!     │ Launch + fds  ───────────►   │   builds, starts
//!     │   ◄───── Launched + pidfd    │
//!     │ Exec, Attach, Resize ─────►  │
//!     │   ◄───── replies, events     │
//!     │   ◄───── Ended, then EOF     │   its `exit` file was written before
//! ```
//!
//! Both ends come from the same build (the daemon carries its keeper), but a keeper outlives the
//! daemon: messages only ever gain fields and variants, never change them. A keeper tells its version
//! when it is adopted, and is asked for nothing that came later ([`Request::since`]); what one side
//! does not know of the other is answered or passed over, and ends nothing.

pub mod directory;
mod frame;
mod message;

pub use frame::{Error, Frame, Inbox, Outbox, Received, Result};
pub use message::{
    Attach, Call, Event, Exec, ExecState, Exit, Failure, FailureKind, Hierarchies, Identity,
    Launch, Log, LogFile, LogFormat, Message, Order, Port, Reply, Request, Runtime, VERSION,
    nanoseconds, system_time,
};
