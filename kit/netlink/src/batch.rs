//! Writing requests: messages one after another in one buffer, each with nested attributes.
//!
//! ```text
//! ┌ nlmsghdr 16 ┬ family header ┬ nlattr 4 ┬ value ┬ pad to 4 ┬ nlattr … ┐ ┌ nlmsghdr …
//! └─ length, kind, flags, sequence, port ──────────────────────────────┘
//! ```
//!
//! Lengths are filled in when a message or a nest is closed. A value too long for its 16-bit length
//! marks the batch, and sending it is then refused; writing itself cannot fail.

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// The flag of an attribute whose value is attributes.
const NESTED: u16 = 1 << 15;

/// Requests to be sent together.
#[derive(Debug, Default, Clone)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Per message: where its header begins and what it is to do.
    messages: Vec<(usize, &'static str)>,
    too_large: Option<&'static str>,
}

impl Batch {
    /// Appends a message with the family's fixed `header`; `attributes` writes the rest.
    pub(crate) fn push(
        &mut self,
        label: &'static str,
        kind: u16,
        flags: u16,
        header: &[u8],
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.messages.push((start, label));
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(header);
        let mut writer = Attributes {
            bytes: &mut self.bytes,
            too_large: false,
        };
        writer.pad();
        attributes(&mut writer);
        if writer.too_large {
            self.too_large = Some(label);
        }
        match u32::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.too_large = Some(label),
        }
    }

    /// What each message is to do, in order.
    pub(crate) fn labels(&self) -> impl ExactSizeIterator<Item = &'static str> + '_ {
        self.messages.iter().map(|(_, label)| *label)
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn too_large(&self) -> Option<&'static str> {
        self.too_large
    }

    /// Numbers the messages from `first` on.
    pub(crate) fn number(&mut self, first: u32) {
        for (n, (start, _)) in self.messages.iter().enumerate() {
            let sequence = first.wrapping_add(n as u32);
            self.bytes[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
        }
    }

    /// Sets `flags` on the last message.
    pub(crate) fn flag_last(&mut self, flags: u16) {
        if let Some((start, _)) = self.messages.last() {
            let at = start + 6;
            let old = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]);
            self.bytes[at..at + 2].copy_from_slice(&(old | flags).to_ne_bytes());
        }
    }

    /// The bytes of messages `from..to`.
    pub(crate) fn slice(&self, from: usize, to: usize) -> &[u8] {
        let at = |n: usize| {
            self.messages
                .get(n)
                .map_or(self.bytes.len(), |(start, _)| *start)
        };
        &self.bytes[at(from)..at(to)]
    }
}

/// Writes attributes at the end of a message or a nest.
pub(crate) struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
    too_large: bool,
}

impl Attributes<'_> {
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value);
        self.close(start);
        self
    }

    /// A string with its terminating zero.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.close(start);
        self
    }

    pub(crate) fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.bytes(kind, &[value])
    }

    /// A number in the machine's byte order, as rtnetlink has it.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// A number in network byte order, as nf_tables has it.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.open(kind | NESTED);
        inner(self);
        self.close(start);
        self
    }

    /// Raw bytes without an attribute header: the fixed part of a nested message.
    pub(crate) fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.too_large = true,
        }
        self.pad();
    }

    fn pad(&mut self) {
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
    }
}
