//! What the kernel tells of chains and map elements.

use super::transaction::{Element, Policy};
use crate::parse::{Message, attribute, attributes, text};

/// The length of `struct nfgenmsg`, which every message begins with.
const HEADER: usize = 4;

/// A chain that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainInfo {
    /// Name.
    pub name: String,
    /// What happens to packets that no rule decided on; only chains at a hook have one.
    pub policy: Option<Policy>,
}

impl ChainInfo {
    pub(super) fn parse(message: &Message<'_>) -> Option<ChainInfo> {
        let rest = message.payload.get(HEADER..)?;
        let policy = attribute(rest, 5).and_then(|v| <[u8; 4]>::try_from(v).ok());
        Some(ChainInfo {
            name: attribute(rest, 3).and_then(text)?,
            policy: policy.map(|v| match u32::from_be_bytes(v) {
                0 => Policy::Drop,
                _ => Policy::Accept,
            }),
        })
    }
}

/// The elements in one message of a dump.
pub(super) fn elements(message: &Message<'_>) -> Option<Vec<Element>> {
    let list = attribute(message.payload.get(HEADER..)?, 3)?;
    let value = |element, kind| attribute(attribute(element, kind)?, 1).map(<[u8]>::to_vec);
    let element = |(_, element)| {
        Some(Element {
            key: value(element, 1)?,
            data: value(element, 2).unwrap_or_default(),
        })
    };
    Some(attributes(list).filter_map(element).collect())
}
