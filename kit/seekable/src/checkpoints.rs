//! Checkpoints of an ordinary gzip stream, found while it is read once: places where decompressing can
//! begin, each with the 32 KiB before it (the idea is zlib's examples/zran.c). From then on the stream
//! can be read from the middle like one that came with a table of contents.
//!
//! ```text
//!  header │ deflate: block … block ● block … block ● … │ trailer │ header │ ● deflate …
//!                                  └─ a piece begins here: bits of a byte, window, digest
//! ```
//!
//! A piece begins at the first end of a block after [`SPAN`] decompressed bytes, and with every member.

use std::fmt;

use miniz_oxide::inflate::TINFLStatus as Status;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use sha2::{Digest as _, Sha256};

use crate::map::{BLOCK, Coding, LONGEST_PIECE, Map, Piece, WINDOW};

/// Decompressed bytes of a piece, at least.
const SPAN: u64 = 4 << 20;
/// Bytes that are decompressed at once; a power of two, in which the history lies.
const ROUND: usize = 256 << 10;
/// Longest header of a member.
const HEADER: usize = 128 << 10;
/// Most pieces: compressors that work in parallel make many members.
const PIECES: usize = 1 << 16;
/// Most bytes of windows, which is 8 GiB of a stream of one member.
const WINDOWS: usize = 64 << 20;
/// Checksum and length at a member's end.
const TRAILER: usize = 8;
const FLAGS: u32 = TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY;

/// Finds the checkpoints of one stream, of which all bytes are pushed in order. What it makes is as
/// good as the stream: whether that is the right one is for others to check.
pub struct Checkpoints {
    state: State,
    inflate: Box<DecompressorOxide>,
    /// What was decompressed last; `at` is where the next byte comes.
    round: Vec<u8>,
    at: usize,
    /// Bytes of the stream so far, and the last one of them.
    read: u64,
    last: u8,
    plain: u64,
    /// Decompressed bytes of this member.
    member: u64,
    /// The piece that has begun.
    open: Option<Open>,
    pieces: Vec<Piece>,
    windows: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// What there is of a header.
    Header(Vec<u8>),
    Body,
    /// So many bytes of a trailer are left.
    Trailer(usize),
    /// It cannot be read from the middle.
    Hopeless,
}

#[derive(Debug)]
struct Open {
    at: u64,
    start: u64,
    bits: u8,
    window: Option<u32>,
    hash: Sha256,
}

/// A stream that can be read from the middle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpointed {
    /// The device is the tar itself.
    pub map: Map,
    /// 32 KiB for each [`Coding::Deflate`]'s window, by their numbers.
    pub windows: Vec<u8>,
}

impl Checkpointed {
    /// The history that a piece needs to be decoded.
    pub fn window(&self, piece: &Piece) -> Option<&[u8]> {
        let Coding::Deflate {
            window: Some(number),
            ..
        } = piece.coding
        else {
            return None;
        };
        let windows = self.windows.as_chunks::<WINDOW>().0;
        Some(windows.get(usize::try_from(number).ok()?)?)
    }
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self {
            state: State::Header(Vec::new()),
            inflate: Box::default(),
            round: vec![0; ROUND],
            at: 0,
            read: 0,
            last: 0,
            plain: 0,
            member: 0,
            open: None,
            pieces: Vec::new(),
            windows: Vec::new(),
        }
    }
}

impl fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoints")
            .field("read", &self.read)
            .field("plain", &self.plain)
            .finish_non_exhaustive()
    }
}

impl Checkpoints {
    /// Takes the next bytes of the stream. False when no more are wanted: nothing will come of it.
    pub fn push(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let taken = match &mut self.state {
                State::Header(head) => {
                    let (known, room) = (head.len(), HEADER - head.len());
                    head.extend_from_slice(&bytes[..bytes.len().min(room)]);
                    match header(head) {
                        // Of a header only what is new is taken.
                        Some(Some(length)) => {
                            self.begin();
                            length - known
                        }
                        Some(None) if head.len() < HEADER => bytes.len(),
                        _ => return self.give_up(),
                    }
                }
                State::Body => match self.inflate(bytes) {
                    Some(taken) => taken,
                    None => return self.give_up(),
                },
                State::Trailer(left) => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    if *left == 0 {
                        self.state = State::Header(Vec::new());
                    }
                    taken
                }
                State::Hopeless => return false,
            };
            self.read += taken as u64;
            if let Some(before) = taken.checked_sub(1) {
                self.last = bytes[before];
            }
            bytes = &bytes[taken..];
            if matches!(self.state, State::Body) && self.open.is_none() {
                self.open = Some(self.opened(0, None));
            }
        }
        true
    }

    /// What was found, after all of the stream; `None` when it cannot be used.
    pub fn finish(self) -> Option<Checkpointed> {
        let ended = matches!(&self.state, State::Header(head) if head.is_empty());
        if !ended || self.plain == 0 || !self.plain.is_multiple_of(BLOCK) {
            return None;
        }
        Some(Checkpointed {
            map: Map::new(self.plain, self.pieces).ok()?,
            windows: self.windows,
        })
    }

    fn give_up(&mut self) -> bool {
        self.state = State::Hopeless;
        (self.round, self.pieces, self.windows) = (Vec::new(), Vec::new(), Vec::new());
        false
    }

    /// A member's deflate stream begins; its first piece is opened where its bytes are.
    fn begin(&mut self) {
        self.state = State::Body;
        self.inflate.init();
        (self.at, self.member, self.open) = (0, 0, None);
    }

    fn opened(&self, bits: u8, window: Option<u32>) -> Open {
        let mut hash = Sha256::new();
        if bits > 0 {
            // Its lower bits belong to the piece before.
            hash.update([self.last]);
        }
        Open {
            at: self.plain,
            start: self.read - u64::from(bits > 0),
            bits,
            window,
            hash,
        }
    }

    /// Decompresses until the bytes end or a block does; answers how many were taken.
    fn inflate(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut taken = 0;
        loop {
            let (status, read, written) = decompress(
                &mut self.inflate,
                &bytes[taken..],
                &mut self.round,
                self.at,
                FLAGS,
            );
            let piece = &bytes[taken..taken + read];
            let open = self.open.as_mut()?;
            open.hash.update(piece);
            taken += read;
            self.plain += written as u64;
            self.member += written as u64;
            self.at = (self.at + written) % ROUND;
            // A block that is too long to be one piece, or a bomb.
            if self.plain - open.at > LONGEST_PIECE {
                return None;
            }
            match status {
                Status::HasMoreOutput => {}
                Status::NeedsMoreInput => return Some(taken),
                Status::BlockBoundary => {
                    let long = self.plain - open.at >= SPAN;
                    if long {
                        self.checkpoint(piece.last().copied(), taken)?;
                    }
                    if taken == bytes.len() {
                        return Some(taken);
                    }
                }
                Status::Done => {
                    self.close(taken)?;
                    self.state = State::Trailer(TRAILER);
                    return Some(taken);
                }
                _ => return None,
            }
        }
    }

    /// A piece ends, and the next one begins, `taken` bytes behind what is counted.
    fn checkpoint(&mut self, last: Option<u8>, taken: usize) -> Option<()> {
        let bits = self.inflate.block_boundary_state()?.num_bits;
        self.close(taken)?;
        if self.windows.len() >= WINDOWS {
            return None;
        }
        let number = u32::try_from(self.windows.len() / WINDOW).ok()?;
        // A piece is longer than a window: all of it is history of this member.
        let (before, behind) = self.round.split_at(self.at);
        let window = [behind, before].concat();
        self.windows
            .extend_from_slice(&window[window.len() - WINDOW..]);
        let (read, kept) = (self.read, self.last);
        self.read += taken as u64;
        self.last = last.unwrap_or(kept);
        let open = self.opened(bits, Some(number));
        (self.read, self.last) = (read, kept);
        self.open = Some(open);
        Some(())
    }

    fn close(&mut self, taken: usize) -> Option<()> {
        let open = self.open.take()?;
        let length = self.plain - open.at;
        if self.pieces.len() >= PIECES {
            return None;
        }
        if length > 0 {
            self.pieces.push(Piece {
                at: open.at,
                length,
                blob: open.start..self.read + taken as u64,
                inner: 0,
                coding: Coding::Deflate {
                    bits: open.bits,
                    window: open.window,
                },
                digest: archive::hex(&open.hash.finalize()),
            });
        }
        Some(())
    }
}

/// Length of a member's header (RFC 1952, 2.3), `None` inside when there is more of it to come; `None`
/// for what is no header.
fn header(bytes: &[u8]) -> Option<Option<usize>> {
    const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return None;
    }
    let Some(flags) = bytes.get(3) else {
        return Some(None);
    };
    // Reserved.
    if flags & 0xe0 != 0 {
        return None;
    }
    let whole = || {
        let mut at = 10;
        if flags & 4 != 0 {
            let length = bytes.get(at..at + 2)?;
            at += 2 + usize::from(u16::from_le_bytes([length[0], length[1]]));
        }
        // Name and comment, each to a zero.
        for flag in [8, 16] {
            if flags & flag != 0 {
                at += bytes.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
            }
        }
        if flags & 2 != 0 {
            at += 2;
        }
        (at <= bytes.len()).then_some(at)
    };
    Some(whole())
}
