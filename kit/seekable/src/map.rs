//! Where the bytes of a device come from, and how they are had from compressed ones.

use std::io::Read as _;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Error;

/// Files begin at multiples of this, as in a tar.
pub const BLOCK: u64 = 512;
/// Longest piece, compressed or not: it is decoded and checked in memory.
pub(crate) const LONGEST_PIECE: u64 = 64 << 20;
/// Most bytes before a piece in what is decompressed together with it.
const FURTHEST: u64 = 64 << 20;
/// Bytes of history that deflate can refer to.
pub(crate) const WINDOW: usize = 32 << 10;

/// How a piece is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coding {
    /// Nothing but zeros, which are in the blob but need not be asked for.
    Zeros,
    /// It begins in a gzip member.
    Gzip,
    /// It begins in a zstd frame.
    Zstd,
    /// The middle of a deflate stream. The digest is that of the compressed bytes.
    Deflate {
        /// Of the first byte, how many of the upper bits belong to it; 0 for all eight.
        bits: u8,
        /// Which window precedes it; `None` where nothing does.
        window: Option<u32>,
    },
}

/// Consecutive bytes of the device that are had at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// First byte in the device.
    #[serde(rename = "a")]
    pub at: u64,
    /// Bytes.
    #[serde(rename = "l")]
    pub length: u64,
    /// Bytes of the blob it is had from.
    #[serde(rename = "b")]
    pub blob: Range<u64>,
    /// How many decompressed bytes are before it.
    #[serde(rename = "i", default, skip_serializing_if = "is_zero")]
    pub inner: u64,
    /// How it is compressed.
    #[serde(rename = "c")]
    pub coding: Coding,
    /// sha256, hex.
    #[serde(rename = "d")]
    pub digest: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// All of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Map {
    /// Bytes of the device.
    pub length: u64,
    /// In the device's order. What is between them is padding that no file shows.
    pub pieces: Vec<Piece>,
}

impl Map {
    /// A map whose pieces are in order and do not overlap.
    ///
    /// # Errors
    /// When they do, or are too large to be had at once.
    pub fn new(length: u64, pieces: Vec<Piece>) -> Result<Self, Error> {
        let map = Self { length, pieces };
        map.check()?;
        Ok(map)
    }

    /// Reads what [`Map::encode`] wrote.
    ///
    /// # Errors
    /// When it is something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let map: Self = serde_json::from_slice(bytes)
            .map_err(|error| Error::malformed(format!("map: {error}")))?;
        map.check()?;
        Ok(map)
    }

    /// As bytes to be kept.
    pub fn encode(&self) -> Vec<u8> {
        // Numbers and texts: there is nothing that could fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn check(&self) -> Result<(), Error> {
        let mut end = 0;
        for piece in &self.pieces {
            let after = piece.at.checked_add(piece.length);
            let (Some(after), true) = (after, piece.at >= end) else {
                return Err(Error::malformed("pieces overlap"));
            };
            let blob = piece.blob.end.checked_sub(piece.blob.start);
            let large = match piece.coding {
                Coding::Zeros => false,
                _ => piece.length > LONGEST_PIECE || piece.inner > FURTHEST,
            };
            match blob {
                None => return Err(Error::malformed("a piece ends before it begins")),
                Some(length) if length > LONGEST_PIECE || large => {
                    return Err(Error::Unsupported("a piece of more than 64 MiB"));
                }
                Some(_) => {}
            }
            if piece.length == 0 || piece.digest.len() != 64 {
                return Err(Error::malformed("a piece without content or digest"));
            }
            end = after;
        }
        if end > self.length {
            return Err(Error::malformed("pieces beyond the end"));
        }
        Ok(())
    }

    /// The pieces that have bytes of a range of the device.
    pub fn pieces(&self, range: Range<u64>) -> &[Piece] {
        let first = self
            .pieces
            .partition_point(|piece| piece.at + piece.length <= range.start);
        let rest = &self.pieces[first..];
        let count = rest.partition_point(|piece| piece.at < range.end);
        &rest[..count]
    }
}

impl Piece {
    /// The piece's bytes from those of the blob that it is had from, checked. `window`: the history
    /// that [`Coding::Deflate`] names.
    ///
    /// # Errors
    /// When they are not what was promised.
    pub fn decode(&self, blob: &[u8], window: Option<&[u8]>) -> Result<Vec<u8>, Error> {
        let wanted = usize::try_from(self.length).unwrap_or(usize::MAX);
        let plain = match self.coding {
            Coding::Zeros => vec![0; wanted],
            Coding::Gzip => self.take(flate2::read::GzDecoder::new(blob))?,
            Coding::Zstd => {
                let decoder = zstd::stream::read::Decoder::new(blob).map_err(Error::Decode)?;
                self.take(decoder)?
            }
            Coding::Deflate {
                bits,
                window: index,
            } => {
                // Before it is decompressed: the digest is that of the span.
                self.check(blob)?;
                let history = match index {
                    None => &[],
                    Some(_) => window.ok_or_else(|| Error::malformed("a window is missing"))?,
                };
                let stream = aligned(blob, bits, history);
                self.skip_and_take(flate2::read::DeflateDecoder::new(&*stream), history.len())?
            }
        };
        match self.coding {
            Coding::Zeros | Coding::Deflate { .. } => {}
            Coding::Gzip | Coding::Zstd => self.check(&plain)?,
        }
        Ok(plain)
    }

    fn check(&self, bytes: &[u8]) -> Result<(), Error> {
        let found = archive::hex(&Sha256::digest(bytes));
        if found == self.digest {
            return Ok(());
        }
        Err(Error::Digest {
            what: "piece of a layer",
            found,
            wanted: self.digest.clone(),
        })
    }

    fn take(&self, reader: impl std::io::Read) -> Result<Vec<u8>, Error> {
        self.skip_and_take(reader, usize::try_from(self.inner).unwrap_or(usize::MAX))
    }

    fn skip_and_take(&self, reader: impl std::io::Read, skip: usize) -> Result<Vec<u8>, Error> {
        let total = skip as u64 + self.length;
        let mut all = Vec::new();
        reader
            .take(total)
            .read_to_end(&mut all)
            .map_err(Error::Decode)?;
        if all.len() as u64 != total {
            return Err(Error::Short {
                found: all.len() as u64,
                wanted: total,
            });
        }
        Ok(all.split_off(skip))
    }
}

/// A deflate stream of its own from the middle of one: the history in stored blocks, empty blocks, then
/// the compressed bytes. These stay at the places in bytes that they had: a stored block among them goes
/// on at the next whole byte.
fn aligned(blob: &[u8], bits: u8, history: &[u8]) -> Vec<u8> {
    let mut stream = Vec::with_capacity(history.len() + blob.len() + 32);
    for part in history.chunks(0xffff) {
        // RFC 1951, 3.2.4: not the last block, type 00, length and its complement.
        let length = part.len() as u16;
        stream.push(0);
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(part);
    }
    let Some((first, rest)) = blob.split_first().filter(|_| (1..8).contains(&bits)) else {
        stream.extend(blob);
        return stream;
    };
    // So many bits are before those of the first byte.
    let before = u32::from(8 - bits);
    let (mut partial, mut filled) = (0u8, 0u32);
    let mut push = |value: u32, count: u32| {
        for bit in 0..count {
            partial |= ((value >> bit & 1) as u8) << filled;
            filled += 1;
            if filled == 8 {
                stream.push(std::mem::take(&mut partial));
                filled = 0;
            }
        }
    };
    let fixed = match before % 2 {
        0 => before / 2,
        _ => {
            dynamic(&mut push);
            (before + 8 - DYNAMIC % 8) % 8 / 2
        }
    };
    for _ in 0..fixed {
        // Ten bits: not the last, fixed codes, the end.
        push(0b010, 3);
        push(0, 7);
    }
    stream.push(partial | first & !(0xff >> bits));
    stream.extend(rest);
    stream
}

/// Bits of the block below.
const DYNAMIC: u32 = 93;

/// An empty block with codes of its own (RFC 1951, 3.2.7), of an odd number of bits: 256 symbols without
/// a code, the end with one of one bit, no distances.
fn dynamic(push: &mut impl FnMut(u32, u32)) {
    push(0b100, 3);
    push(0, 5);
    push(0, 5);
    // 18 lengths of codes for lengths, in their odd order: of 18, of 0, and the last, of 1.
    push(14, 4);
    for length in [0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2] {
        push(length, 3);
    }
    // Codes: 0 is `0`, 1 is `10`, 18 is `11`. Zeros twice, 138 and 118 of them.
    for zeros in [138, 118] {
        push(0b11, 2);
        push(zeros - 11, 7);
    }
    push(0b01, 2);
    push(0, 1);
    // The end.
    push(0, 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(at: u64, length: u64) -> Piece {
        Piece {
            at,
            length,
            blob: 0..1,
            inner: 0,
            coding: Coding::Gzip,
            digest: "0".repeat(64),
        }
    }

    #[test]
    fn pieces_of_a_range_are_found() {
        let pieces = vec![piece(0, 10), piece(10, 5), piece(512, 100)];
        let map = Map::new(1024, pieces).expect("map");
        let at = |range: Range<u64>| map.pieces(range).iter().map(|p| p.at).collect::<Vec<_>>();
        assert_eq!(at(0..1), [0]);
        assert_eq!(at(9..11), [0, 10]);
        assert_eq!(at(15..512), [0u64; 0]);
        assert_eq!(at(0..1024), [0, 10, 512]);
        assert_eq!(Map::decode(&map.encode()).expect("the same"), map);
    }

    #[test]
    fn every_place_in_a_byte_can_be_begun_at() {
        // The end of some byte, then a stored block, which goes on at a whole byte, and the end.
        for bits in 1..8u8 {
            let history = b"before";
            let header = 3u8;
            let mut blob = match bits.checked_sub(header) {
                // Its header is within the first byte, whose lower bits are somebody else's.
                Some(_) => vec![0xff >> bits],
                None => vec![0xff >> bits, 0],
            };
            blob.extend([3, 0, !3, !0]);
            blob.extend(b"abc");
            blob.extend([0b011, 0]);
            let stream = aligned(&blob, bits, history);
            let mut plain = Vec::new();
            flate2::read::DeflateDecoder::new(&*stream)
                .read_to_end(&mut plain)
                .expect("a stream");
            assert_eq!(plain, b"beforeabc", "{bits}");
        }
    }

    #[test]
    fn maps_that_make_no_sense_are_refused() {
        assert!(Map::new(20, vec![piece(0, 10), piece(9, 5)]).is_err());
        assert!(Map::new(5, vec![piece(0, 10)]).is_err());
        assert!(Map::new(u64::MAX, vec![piece(u64::MAX, 2)]).is_err());
        assert!(Map::new(u64::MAX, vec![piece(0, LONGEST_PIECE + 1)]).is_err());
    }
}
