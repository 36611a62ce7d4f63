//! The multiplexed stream: frames of `[stream, 0, 0, 0, length as big-endian u32]` and payload.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::Error;

/// Which stream a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Echo of the input.
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Failure of the engine itself.
    System,
}

/// Part of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whose.
    pub kind: StreamKind,
    /// Bytes; a frame larger than what arrived is given in parts.
    pub data: Bytes,
}

/// Cuts a multiplexed stream into frames. Holds no more than one header: payload is passed on as
/// it arrives.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    current: Option<(StreamKind, usize)>,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self {
            buffer: BytesMut::new(),
            current: None,
        }
    }
}

impl FrameReader {
    /// A reader at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what arrived; then call [`FrameReader::next_frame`] until it gives nothing.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// Next frame, or part of one, from what was pushed.
    ///
    /// # Errors
    /// A header that names no stream.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            if let Some((kind, left)) = self.current {
                if left == 0 {
                    self.current = None;
                    continue;
                }
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                let take = left.min(self.buffer.len());
                let data = self.buffer.split_to(take).freeze();
                self.current = Some((kind, left - take));
                return Ok(Some(Frame { kind, data }));
            }
            if self.buffer.len() < 8 {
                return Ok(None);
            }
            let kind = match self.buffer[0] {
                0 => StreamKind::Stdin,
                1 => StreamKind::Stdout,
                2 => StreamKind::Stderr,
                3 => StreamKind::System,
                other => {
                    return Err(Error::Http(format!("unrecognized input header: {other}")));
                }
            };
            self.buffer.advance(4);
            let length = self.buffer.get_u32() as usize;
            self.current = Some((kind, length));
        }
    }

    /// Whether the stream may end here.
    pub fn is_complete(&self) -> bool {
        self.buffer.is_empty() && self.current.is_none_or(|(_, left)| left == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::{FrameReader, StreamKind};
    use proptest::prelude::*;

    fn kind(id: u8) -> StreamKind {
        match id {
            0 => StreamKind::Stdin,
            1 => StreamKind::Stdout,
            2 => StreamKind::Stderr,
            _ => StreamKind::System,
        }
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(
            frames in proptest::collection::vec((0u8..4, proptest::collection::vec(any::<u8>(), 0..40)), 0..12),
            cut in 1usize..17,
        ) {
            let mut wire = Vec::new();
            for (id, data) in &frames {
                wire.extend_from_slice(&[*id, 0, 0, 0]);
                wire.extend_from_slice(&(data.len() as u32).to_be_bytes());
                wire.extend_from_slice(data);
            }
            let mut want: Vec<(StreamKind, Vec<u8>)> = Vec::new();
            for (id, data) in frames.into_iter().filter(|(_, data)| !data.is_empty()) {
                match want.last_mut() {
                    Some((last, all)) if *last == kind(id) => all.extend(data),
                    _ => want.push((kind(id), data)),
                }
            }
            let mut got: Vec<(StreamKind, Vec<u8>)> = Vec::new();
            let mut reader = FrameReader::new();
            for chunk in wire.chunks(cut) {
                reader.push(chunk);
                while let Some(frame) = reader.next_frame().expect("valid") {
                    match got.last_mut() {
                        Some((last, all)) if *last == frame.kind => all.extend(&frame.data),
                        _ => got.push((frame.kind, frame.data.to_vec())),
                    }
                }
            }
            prop_assert!(reader.is_complete());
            prop_assert_eq!(got, want);
        }
    }
}
