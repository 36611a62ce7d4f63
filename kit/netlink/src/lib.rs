//! Batched netlink: rtnetlink requests and nf_tables transactions, many to one system call.
//!
//! A [`route::Requests`] or an [`nft::Transaction`] is filled first and sent in one `sendmsg`; the
//! kernel works through it inside that call, so its answers are in the socket's queue when the call
//! returns and nothing here ever waits. A refused request comes back as [`Error::Refused`] with the
//! kernel's own explanation.
//!
//! Answers are parsed with bounds checks only: [`parse`] and what builds on it take any bytes.

mod batch;
pub mod conntrack;
mod error;
pub mod nft;
pub mod parse;
pub mod route;
mod socket;
#[cfg(test)]
mod tests;

pub use error::Error;
