//! nf_tables: a whole ruleset, or a change to it, as one atomic transaction.
//!
//! ```text
//! BEGIN │ new table │ delete table │ new table │ maps │ chains │ rules │ elements │ END
//! ```
//!
//! Everything between BEGIN and END takes effect at once or not at all. A [`Rule`] is a list of
//! [`Expression`]s over the packet's registers, the same ones that `nft --debug=netlink` prints.

mod expression;
mod read;
mod transaction;

pub use expression::{Base, CtKey, Expression, MetaKey, NatTarget, Operator, Register, Verdict};
pub use read::ChainInfo;
pub use transaction::{Chain, Element, Hook, HookPoint, Map, Policy, Rule, Transaction};

use rustix::io::Errno;

use crate::Error;
use crate::batch::Batch;
use crate::socket::Socket;

pub(crate) const SUBSYSTEM: u16 = 10 << 8;
pub(crate) const REQUEST: u16 = 1;
pub(crate) const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const GETTABLE: u16 = 1;
const GETCHAIN: u16 = 4;
const GETSETELEM: u16 = 13;

/// Address family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    /// IPv4.
    Ip = 2,
    /// IPv6.
    Ip6 = 10,
}

/// An nf_tables socket of the namespace that the opening thread was in.
#[derive(Debug)]
pub struct Nft(Socket);

impl Nft {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Nft, Error> {
        Socket::netfilter().map(Nft)
    }

    /// Carries out a transaction, all of it or nothing.
    pub fn commit(&mut self, transaction: Transaction) -> Result<(), Error> {
        let Some(mut batch) = transaction.finish() else {
            return Ok(());
        };
        self.0.whole(&mut batch)
    }

    /// Whether there is a table of this name.
    pub fn has_table(&mut self, family: Family, name: &str) -> Result<bool, Error> {
        let mut batch = Batch::default();
        let kind = SUBSYSTEM | GETTABLE;
        batch.push(
            "look up table",
            kind,
            REQUEST | ACK,
            &header(family, 0),
            |a| {
                a.text(1, name);
            },
        );
        match self.0.dump(&mut batch, |_| Some(())) {
            Ok(found) => Ok(!found.is_empty()),
            Err(error) if error.errno() == Some(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A chain, if there is one of this name.
    pub fn chain(
        &mut self,
        family: Family,
        table: &str,
        name: &str,
    ) -> Result<Option<ChainInfo>, Error> {
        let mut batch = Batch::default();
        let kind = SUBSYSTEM | GETCHAIN;
        batch.push(
            "look up chain",
            kind,
            REQUEST | ACK,
            &header(family, 0),
            |a| {
                a.text(1, table).text(3, name);
            },
        );
        match self.0.dump(&mut batch, ChainInfo::parse) {
            Ok(found) => Ok(found.into_iter().next()),
            Err(error) if error.errno() == Some(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The keys and data of a map's elements, as raw bytes.
    pub fn elements(
        &mut self,
        family: Family,
        table: &str,
        map: &str,
    ) -> Result<Vec<Element>, Error> {
        let mut batch = Batch::default();
        let kind = SUBSYSTEM | GETSETELEM;
        batch.push(
            "list map elements",
            kind,
            REQUEST | DUMP,
            &header(family, 0),
            |a| {
                a.text(1, table).text(2, map);
            },
        );
        let lists = self.0.dump(&mut batch, read::elements)?;
        Ok(lists.into_iter().flatten().collect())
    }
}

/// `struct nfgenmsg`.
pub(crate) fn header(family: Family, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family as u8, 0, high, low]
}

/// Every reader of this module on one message, for the tests.
#[cfg(test)]
pub(crate) fn read_all(
    message: &crate::parse::Message<'_>,
) -> (Option<ChainInfo>, Option<Vec<Element>>) {
    (ChainInfo::parse(message), read::elements(message))
}
