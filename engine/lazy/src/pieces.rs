//! Decoded pieces, some of them kept: a piece is decoded once, however many reads it takes.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use registry::Client;
use seekable::{Coding, Piece};
use tokio::sync::{OnceCell, Semaphore};

use crate::layer::Shared;
use crate::plan::{blocking, text};

/// Bytes of pieces that are kept.
const KEPT: u64 = 48 << 20;
/// Most MiB of pieces that are decoded at once, more than any one takes: who makes an image chooses
/// their lengths, who reads it how many.
const DECODED: usize = 256;
/// Tries of a piece whose bytes are wrong.
const TRIES: u32 = 3;

type Slot = Arc<OnceCell<Arc<Vec<u8>>>>;
/// Layer and place in its device.
type Key = (u64, u64);

/// Pieces of all layers.
#[derive(Debug)]
pub(crate) struct Pieces {
    kept: Mutex<Kept>,
    /// MiB for decoding.
    room: Semaphore,
}

impl Default for Pieces {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            room: Semaphore::new(DECODED),
        }
    }
}

#[derive(Debug, Default)]
struct Kept {
    /// With their lengths, and when they were last used.
    slots: HashMap<Key, (Slot, u64, u64)>,
    bytes: u64,
    clock: u64,
}

/// Why a read fails.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// Wrong bytes came.
    pub(crate) corrupt: bool,
    pub(crate) text: String,
}

impl Pieces {
    /// Bytes of a layer's device.
    pub(crate) async fn read(
        &self,
        client: &Client,
        layer: &Shared,
        range: Range<u64>,
    ) -> Result<Vec<u8>, Trouble> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        // What no piece has is padding.
        let mut out = vec![0; length];
        for piece in layer.map.pieces(range.clone()) {
            let bytes = match piece.coding {
                Coding::Zeros => continue,
                _ => self.piece(client, layer, piece).await?,
            };
            let start = range.start.max(piece.at);
            let end = range.end.min(piece.at + piece.length);
            let place = |at: u64, base: u64| usize::try_from(at - base).unwrap_or(usize::MAX);
            let to = place(start, range.start)..place(end, range.start);
            let from = place(start, piece.at)..place(end, piece.at);
            match (out.get_mut(to), bytes.get(from)) {
                (Some(to), Some(from)) if to.len() == from.len() => to.copy_from_slice(from),
                _ => {
                    return Err(Trouble {
                        corrupt: true,
                        text: format!("a piece of layer {} has another length", layer.chain),
                    });
                }
            }
        }
        Ok(out)
    }

    async fn piece(
        &self,
        client: &Client,
        layer: &Shared,
        piece: &Piece,
    ) -> Result<Arc<Vec<u8>>, Trouble> {
        let slot = self.slot((layer.number, piece.at), piece.length);
        let made = slot.get_or_try_init(|| decoded(client, layer, piece, &self.room));
        made.await.cloned()
    }

    fn slot(&self, key: Key, length: u64) -> Slot {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock += 1;
        let now = kept.clock;
        if let Some((slot, _, used)) = kept.slots.get_mut(&key) {
            *used = now;
            return Arc::clone(slot);
        }
        let slot = Slot::default();
        kept.slots.insert(key, (Arc::clone(&slot), length, now));
        kept.bytes += length;
        while kept.bytes > KEPT && kept.slots.len() > 1 {
            let oldest = kept.slots.iter().min_by_key(|(_, (_, _, used))| *used);
            let Some(key) = oldest.map(|(key, _)| *key) else {
                break;
            };
            if let Some((_, length, _)) = kept.slots.remove(&key) {
                kept.bytes -= length;
            }
        }
        slot
    }
}

/// A piece from the blob. Wrong bytes are fetched anew: they may have been damaged on their way or
/// on disk.
async fn decoded(
    client: &Client,
    layer: &Shared,
    piece: &Piece,
    room: &Semaphore,
) -> Result<Arc<Vec<u8>>, Trouble> {
    let mut wrong = String::new();
    for _ in 0..TRIES {
        let ensured = layer.ensure(client, &piece.blob).await;
        ensured.map_err(|text| Trouble {
            corrupt: false,
            text,
        })?;
        // Never closed.
        let _room = room.acquire_many(mebibytes(piece)).await;
        let (from, piece_too) = (Arc::clone(layer), piece.clone());
        let decoded = blocking(move || decode(&from, &piece_too)).await;
        match decoded {
            Ok(bytes) => return Ok(Arc::new(bytes)),
            Err(text) => wrong = text,
        }
        layer.drop_here(&piece.blob);
    }
    Err(Trouble {
        corrupt: true,
        text: wrong,
    })
}

/// What decoding a piece takes: its bytes, those before it and the compressed ones.
fn mebibytes(piece: &Piece) -> u32 {
    let bytes = piece.length + piece.inner + (piece.blob.end - piece.blob.start);
    u32::try_from(bytes.div_ceil(1 << 20).min(DECODED as u64)).unwrap_or(1)
}

pub(crate) fn decode(layer: &Shared, piece: &Piece) -> Result<Vec<u8>, String> {
    let window = match piece.coding {
        Coding::Deflate {
            window: Some(number),
            ..
        } => Some(layer.window(number).map_err(text)?),
        _ => None,
    };
    let bytes = layer.bytes(&piece.blob).map_err(text)?;
    piece.decode(&bytes, window.as_deref()).map_err(text)
}
