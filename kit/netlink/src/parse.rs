//! Reading answers: messages of a datagram, attributes of a message. Any bytes are fine; what is
//! cut short ends the iteration.

use rustix::io::Errno;

use crate::batch::HEADER;

/// The kernel's answer to a request: an errno, 0 for "done".
pub const ERROR: u16 = 2;
/// The end of a dump.
pub const DONE: u16 = 3;
/// Flag: the dump was interrupted by a change and must be repeated.
pub const DUMP_INTERRUPTED: u16 = 0x10;
const CAPPED: u16 = 0x100;
const ACK_ATTRIBUTES: u16 = 0x200;
/// The largest number that the kernel uses for an errno.
const MAX_ERRNO: i32 = 4095;
const ATTRIBUTE_MESSAGE: u16 = 1;

/// One message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// The sequence number of the request it answers.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// What an [`ERROR`] message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `None` when the request was carried out.
    pub errno: Option<Errno>,
    /// The kernel's explanation.
    pub explanation: Option<String>,
}

/// The messages of a datagram.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        if length < HEADER || length > bytes.len() {
            return None;
        }
        let message = Message {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            payload: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in `bytes`: kind without its flag bits, and value.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute `kind` in `bytes`.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(k, value)| (k == kind).then_some(value))
}

/// Reads the payload of an [`ERROR`] message.
pub fn outcome(message: &Message<'_>) -> Option<Outcome> {
    let code = u32_at(message.payload, 0)? as i32;
    let explanation = (message.flags & ACK_ATTRIBUTES != 0).then(|| {
        // The request's header follows the code, and the request itself unless it was capped.
        let echoed = match message.flags & CAPPED {
            0 => u32_at(message.payload, 4)? as usize,
            _ => HEADER,
        };
        let rest = message
            .payload
            .get(4usize.checked_add(echoed.next_multiple_of(4))?..)?;
        text(attribute(rest, ATTRIBUTE_MESSAGE)?)
    });
    let errno = (code != 0).then(|| match code.checked_neg() {
        Some(errno @ 1..=MAX_ERRNO) => Errno::from_raw_os_error(errno),
        _ => Errno::PROTO,
    });
    Some(Outcome {
        errno,
        explanation: explanation.flatten(),
    })
}

/// A string up to its terminating zero.
pub fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end]).ok().map(str::to_owned)
}

/// A 16-bit number in the machine's byte order.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

/// A 32-bit number in the machine's byte order.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}
