//! The writer of transactions, and the objects that they add and delete.

use super::expression::{Expression, value};
use super::{ACK, Family, REQUEST, SUBSYSTEM, header};
use crate::batch::{Attributes, Batch};

const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const LIST_ELEMENT: u16 = 1;
/// Keeps a list of elements well under the 64 KiB that an attribute can say.
const ELEMENTS_AT_ONCE: usize = 500;

/// Where in a packet's way a chain sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookPoint {
    /// Come in, before routing.
    Prerouting = 0,
    /// For this host.
    Input = 1,
    /// Passing through.
    Forward = 2,
    /// Made by this host.
    Output = 3,
    /// About to leave.
    Postrouting = 4,
}

/// What happens to packets that no rule of a chain decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// They are dropped.
    Drop = 0,
    /// They go on.
    Accept = 1,
}

/// Makes a chain see packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// Where.
    pub point: HookPoint,
    /// In which order with other chains there; lower is earlier.
    pub priority: i32,
    /// What becomes of the rest.
    pub policy: Policy,
}

/// A chain to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Name.
    pub name: String,
    /// Absent for a chain that others jump to.
    pub hook: Option<Hook>,
}

/// A rule to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Name of its chain.
    pub chain: String,
    /// What it does.
    pub expressions: Vec<Expression>,
}

/// A map to add, with keys and data of fixed size. Types are the numbers that `nft` prints by:
/// `ipv4_addr` 7, `inet_service` 13, six bits each in a concatenation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Name, at most 31 bytes.
    pub name: String,
    /// Type of the key.
    pub key_type: u32,
    /// Bytes of a key, each part of a concatenation padded to 4.
    pub key_length: u32,
    /// Type of the data.
    pub data_type: u32,
    /// Bytes of the data.
    pub data_length: u32,
}

/// An element of a map.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element {
    /// The key's bytes.
    pub key: Vec<u8>,
    /// The data's bytes; not looked at when deleting.
    pub data: Vec<u8>,
}

/// Changes to one table, to be carried out at once.
#[derive(Debug, Clone)]
pub struct Transaction {
    family: Family,
    table: String,
    batch: Batch,
    sets: u32,
}

impl Transaction {
    /// Begins a transaction on one table.
    pub fn new(family: Family, table: &str) -> Transaction {
        let mut batch = Batch::default();
        batch.push(
            "begin nftables batch",
            BEGIN,
            REQUEST,
            &header_any(),
            |_| {},
        );
        Transaction {
            family,
            table: table.to_owned(),
            batch,
            sets: 0,
        }
    }

    /// Adds the table, if it is not there.
    pub fn add_table(&mut self) -> &mut Self {
        self.push("add nftables table", NEWTABLE, CREATE, |_| {})
    }

    /// Deletes the table and all in it; refused if it is not there.
    pub fn delete_table(&mut self) -> &mut Self {
        self.push("delete nftables table", DELTABLE, 0, |_| {})
    }

    /// Adds a chain.
    pub fn add_chain(&mut self, chain: &Chain) -> &mut Self {
        self.push("add nftables chain", NEWCHAIN, CREATE, |a| {
            a.text(3, &chain.name);
            if let Some(hook) = &chain.hook {
                a.nest(4, |a| {
                    a.be32(1, hook.point as u32).be32(2, hook.priority as u32);
                });
                a.be32(5, hook.policy as u32).text(7, hook.kind);
            }
        })
    }

    /// Appends a rule to its chain.
    pub fn add_rule(&mut self, rule: &Rule) -> &mut Self {
        self.push("add nftables rule", NEWRULE, CREATE | APPEND, |a| {
            a.text(2, &rule.chain);
            a.nest(4, |a| {
                for expression in &rule.expressions {
                    a.nest(LIST_ELEMENT, |a| expression.write(a));
                }
            });
        })
    }

    /// Adds a map.
    pub fn add_map(&mut self, map: &Map) -> &mut Self {
        const IS_MAP: u32 = 8;
        self.sets += 1;
        let id = self.sets;
        self.push("add nftables map", NEWSET, CREATE | EXCLUSIVE, |a| {
            a.text(2, &map.name).be32(3, IS_MAP);
            a.be32(4, map.key_type).be32(5, map.key_length);
            a.be32(6, map.data_type).be32(7, map.data_length);
            a.be32(10, id);
        })
    }

    /// Adds elements to a map; one with the same key and other data is refused.
    pub fn add_elements(&mut self, map: &str, elements: &[Element]) -> &mut Self {
        for some in elements.chunks(ELEMENTS_AT_ONCE) {
            self.elements("add nftables element", NEWSETELEM, CREATE, map, some, true);
        }
        self
    }

    /// Deletes elements of a map; one that is not there is refused.
    pub fn delete_elements(&mut self, map: &str, elements: &[Element]) -> &mut Self {
        for some in elements.chunks(ELEMENTS_AT_ONCE) {
            self.elements("delete nftables element", DELSETELEM, 0, map, some, false);
        }
        self
    }

    fn elements(
        &mut self,
        label: &'static str,
        kind: u16,
        flags: u16,
        map: &str,
        elements: &[Element],
        with_data: bool,
    ) {
        self.push(label, kind, flags, |a| {
            a.text(2, map);
            a.nest(3, |a| {
                for element in elements {
                    a.nest(LIST_ELEMENT, |a| {
                        a.nest(1, |a| value(a, &element.key));
                        if with_data {
                            a.nest(2, |a| value(a, &element.data));
                        }
                    });
                }
            });
        });
    }

    fn push(
        &mut self,
        label: &'static str,
        kind: u16,
        flags: u16,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) -> &mut Self {
        let table = &self.table;
        let header = header(self.family, 0);
        self.batch
            .push(label, SUBSYSTEM | kind, REQUEST | flags, &header, |a| {
                a.text(1, table);
                attributes(a);
            });
        self
    }

    /// The finished batch; `None` when there is nothing to do.
    pub(crate) fn finish(mut self) -> Option<Batch> {
        if self.batch.len() == 1 {
            return None;
        }
        // Older kernels do not acknowledge END, so the last change does.
        self.batch.flag_last(ACK);
        self.batch
            .push("end nftables batch", END, REQUEST, &header_any(), |_| {});
        Some(self.batch)
    }
}

/// The header of BEGIN and END: any family, and which subsystem the batch is for.
fn header_any() -> [u8; 4] {
    let [high, low] = (SUBSYSTEM >> 8).to_be_bytes();
    [0, 0, high, low]
}
