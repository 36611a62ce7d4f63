//! Expressions: the instructions that a rule is made of.
//!
//! They work on sixteen 4-byte registers. A value wider than that takes consecutive ones, and a
//! concatenation (`ip daddr . tcp dport`) is values in consecutive registers.

use crate::batch::Attributes;

/// One of the sixteen 4-byte registers, 0 to 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(pub u8);

/// What is known of a packet besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetaKey {
    /// Name of the interface it came in by, 16 bytes.
    InputName = 6,
    /// Name of the interface it leaves by, 16 bytes.
    OutputName = 7,
    /// Transport protocol, 1 byte.
    Protocol = 16,
}

/// What is known of a packet's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CtKey {
    /// Bits: invalid 1, established 2, related 4, new 8; in the machine's byte order.
    State = 0,
    /// `IPS_*` bits, of which 32 means that the destination was translated.
    Status = 2,
}

/// Where a payload offset counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// The IP header.
    Network = 1,
    /// The TCP or UDP header.
    Transport = 2,
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Goes on if equal.
    Equal = 0,
    /// Goes on if not equal.
    NotEqual = 1,
}

/// Which of a packet's addresses is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatTarget {
    /// The source.
    Source = 0,
    /// The destination.
    Destination = 1,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Dropped, for good.
    Drop,
    /// Accepted by this chain.
    Accept,
    /// Goes on in another chain, and comes back if that one does not decide.
    Jump(String),
    /// Back to the calling chain.
    Return,
}

/// An instruction of a rule. Each either loads a register, or ends the rule when it does not hold,
/// or acts on the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expression {
    /// Loads what is known of the packet.
    Meta(MetaKey, Register),
    /// Loads what is known of its connection.
    Ct(CtKey, Register),
    /// Loads bytes of the packet.
    Payload {
        /// Where to count from.
        base: Base,
        /// First byte.
        offset: u32,
        /// How many.
        length: u32,
        /// Where to.
        to: Register,
    },
    /// Loads the kind of address that the destination is to this host: 2 for one of its own.
    DestinationType(Register),
    /// Clears the bits of a register that `mask` has not.
    Mask(Register, Vec<u8>),
    /// Ends the rule unless the comparison holds.
    Compare(Operator, Register, Vec<u8>),
    /// Ends the rule unless the map of the table has the key at `key`; loads the element's data.
    Lookup {
        /// Name of the map.
        map: String,
        /// Where the key begins.
        key: Register,
        /// Where the data goes.
        data: Register,
    },
    /// Translates an IPv4 address and a port held in registers.
    Nat {
        /// Which one.
        target: NatTarget,
        /// Holds the address.
        address: Register,
        /// Holds the port.
        port: Register,
    },
    /// Translates the source to the address of the interface that the packet leaves by.
    Masquerade,
    /// Decides.
    Verdict(Verdict),
}

impl Register {
    /// The kernel numbers its 4-byte registers from 8.
    fn number(self) -> u32 {
        8 + u32::from(self.0.min(15))
    }
}

impl Expression {
    fn name(&self) -> &'static str {
        match self {
            Expression::Meta(..) => "meta",
            Expression::Ct(..) => "ct",
            Expression::Payload { .. } => "payload",
            Expression::DestinationType(_) => "fib",
            Expression::Mask(..) => "bitwise",
            Expression::Compare(..) => "cmp",
            Expression::Lookup { .. } => "lookup",
            Expression::Nat { .. } => "nat",
            Expression::Masquerade => "masq",
            Expression::Verdict(_) => "immediate",
        }
    }

    pub(super) fn write(&self, a: &mut Attributes<'_>) {
        a.text(1, self.name());
        a.nest(2, |a| self.write_data(a));
    }

    fn write_data(&self, a: &mut Attributes<'_>) {
        match self {
            Expression::Meta(key, to) => {
                a.be32(1, to.number()).be32(2, *key as u32);
            }
            Expression::Ct(key, to) => {
                a.be32(1, to.number()).be32(2, *key as u32);
            }
            Expression::Payload {
                base,
                offset,
                length,
                to,
            } => {
                a.be32(1, to.number())
                    .be32(2, *base as u32)
                    .be32(3, *offset)
                    .be32(4, *length);
            }
            Expression::DestinationType(to) => {
                const ADDRESS_TYPE: u32 = 3;
                const OF_DESTINATION: u32 = 2;
                a.be32(1, to.number())
                    .be32(2, ADDRESS_TYPE)
                    .be32(3, OF_DESTINATION);
            }
            Expression::Mask(register, mask) => {
                a.be32(1, register.number()).be32(2, register.number());
                a.be32(3, mask.len() as u32);
                a.nest(4, |a| value(a, mask))
                    .nest(5, |a| value(a, &vec![0; mask.len()]));
            }
            Expression::Compare(operator, register, with) => {
                a.be32(1, register.number()).be32(2, *operator as u32);
                a.nest(3, |a| value(a, with));
            }
            Expression::Lookup { map, key, data } => {
                a.text(1, map).be32(2, key.number()).be32(3, data.number());
            }
            Expression::Nat {
                target,
                address,
                port,
            } => {
                a.be32(1, *target as u32).be32(2, libc::AF_INET as u32);
                a.be32(3, address.number()).be32(5, port.number());
            }
            Expression::Masquerade => {}
            Expression::Verdict(verdict) => {
                const VERDICT_REGISTER: u32 = 0;
                a.be32(1, VERDICT_REGISTER);
                a.nest(2, |a| {
                    a.nest(2, |a| verdict.write(a));
                });
            }
        }
    }
}

impl Verdict {
    fn write(&self, a: &mut Attributes<'_>) {
        const JUMP: i32 = -3;
        const RETURN: i32 = -5;
        let code = match self {
            Verdict::Drop => 0,
            Verdict::Accept => 1,
            Verdict::Jump(_) => JUMP,
            Verdict::Return => RETURN,
        };
        a.be32(1, code as u32);
        if let Verdict::Jump(chain) = self {
            a.text(2, chain);
        }
    }
}

/// `NFTA_DATA_VALUE`.
pub(super) fn value(a: &mut Attributes<'_>, bytes: &[u8]) {
    a.bytes(1, bytes);
}
