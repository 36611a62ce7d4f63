//! Copies between the program's own streams and a hijacked connection.

use client::{FrameReader, Hijacked, StreamKind};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::failure::{Failure, Outcome};
use super::out;
use super::tty::{Input, Raw};

/// Keys that detach when none are configured: Ctrl-P, Ctrl-Q.
const DEFAULT_KEYS: &[u8] = &[16, 17];

/// What is copied and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams {
    /// Standard input goes to the container.
    pub(crate) stdin: bool,
    /// The container's output comes back.
    pub(crate) output: bool,
    /// The container has a terminal: one raw stream.
    pub(crate) tty: bool,
    /// Keys that detach, from [`detach_keys`].
    pub(crate) keys: Vec<u8>,
}

/// How copying ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The container's side closed.
    Closed,
    /// The user detached.
    Detached,
}

/// Copies until the container's side closes or the user detaches.
///
/// # Errors
/// A broken connection.
pub(crate) async fn copy(hijacked: Hijacked, streams: &Streams) -> Outcome<Ended> {
    let raw = (streams.tty && streams.stdin).then(Raw::enter).flatten();
    let Hijacked {
        mut reader,
        mut writer,
        multiplexed,
    } = hijacked;
    let framed = multiplexed.unwrap_or(!streams.tty);
    let output = async {
        let mut frames = FrameReader::new();
        while let Some(chunk) = reader.chunk().await? {
            if framed {
                frames.push(&chunk);
                write_frames(&mut frames)?;
            } else {
                out::write(&chunk);
            }
        }
        Outcome::Ok(Ended::Closed)
    };
    let input = async {
        let ended = if streams.stdin {
            send_input(&mut writer, streams).await
        } else {
            Ended::Closed
        };
        if ended == Ended::Closed {
            // Half-close: the container reads the end of its input and may go on writing.
            let _ = writer.shutdown().await;
            if streams.output || streams.tty {
                std::future::pending::<()>().await;
            }
        }
        ended
    };
    let ended = tokio::select! {
        ended = output => ended,
        ended = input => Ok(ended),
    };
    drop(raw);
    ended
}

/// Writes whole and partial frames to standard output and error.
///
/// # Errors
/// A stream that is not framed, or the engine's own failure.
pub(crate) fn write_frames(frames: &mut FrameReader) -> Outcome {
    while let Some(frame) = frames.next_frame()? {
        match frame.kind {
            StreamKind::Stdin | StreamKind::Stdout => out::write(&frame.data),
            StreamKind::Stderr => out::write_error(&frame.data),
            StreamKind::System => {
                let text = String::from_utf8_lossy(&frame.data);
                return Err(Failure::new(format!("error from daemon in stream: {text}")));
            }
        }
    }
    Ok(())
}

async fn send_input<W: AsyncWrite + Unpin>(writer: &mut W, streams: &Streams) -> Ended {
    let input = Input::new();
    let mut keys = KeyWatch::new(if streams.tty { &streams.keys } else { &[] });
    let mut buffer = vec![0u8; 32 << 10];
    loop {
        let n = match input.read(&mut buffer).await {
            Ok(0) | Err(_) => return Ended::Closed,
            Ok(n) => n,
        };
        let (bytes, detached) = keys.pass(&buffer[..n]);
        if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            // The container takes no more input; its output tells the rest.
            std::future::pending::<()>().await;
        }
        if detached {
            return Ended::Detached;
        }
    }
}

/// Finds the detach keys in what is typed. A beginning of the sequence is held back until it is
/// known to be none.
#[derive(Debug)]
struct KeyWatch<'a> {
    keys: &'a [u8],
    matched: usize,
}

impl<'a> KeyWatch<'a> {
    fn new(keys: &'a [u8]) -> Self {
        Self { keys, matched: 0 }
    }

    /// Bytes to pass on, and whether the whole sequence was seen.
    fn pass(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        if self.keys.is_empty() {
            return (input.to_vec(), false);
        }
        let mut bytes = Vec::with_capacity(input.len() + self.matched);
        for byte in input {
            if *byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (bytes, true);
                }
                continue;
            }
            bytes.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if *byte == self.keys[0] && self.keys.len() > 1 {
                self.matched = 1;
            } else {
                bytes.push(*byte);
            }
        }
        (bytes, false)
    }
}

/// Reads `ctrl-p,ctrl-q` and the like; empty is the default.
///
/// # Errors
/// docker's text.
pub(crate) fn detach_keys(text: &str) -> Outcome<Vec<u8>> {
    if text.is_empty() {
        return Ok(DEFAULT_KEYS.to_vec());
    }
    let invalid = |key: &str| {
        Failure::new(format!(
            "invalid detach keys ({text}): Unknown character: '{key}'"
        ))
    };
    text.split(',')
        .map(|key| match key.as_bytes() {
            [byte] => Ok(*byte),
            _ => match key.strip_prefix("ctrl-").map(str::as_bytes) {
                Some([letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
                Some([b'@']) => Ok(0),
                Some([b'[']) => Ok(27),
                Some([b'\\']) => Ok(28),
                Some([b']']) => Ok(29),
                Some([b'^']) => Ok(30),
                Some([b'_']) => Ok(31),
                _ if key == "DEL" => Ok(127),
                _ => Err(invalid(key)),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{KeyWatch, detach_keys};

    #[test]
    fn keys() {
        let mut watch = KeyWatch::new(&[16, 17]);
        assert_eq!(watch.pass(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(watch.pass(b"b\x10\x10"), (b"\x10b\x10".to_vec(), false));
        assert_eq!(watch.pass(b"\x11zz"), (Vec::new(), true));
        assert_eq!(detach_keys("ctrl-a,b").expect("valid"), [1, b'b']);
        assert!(detach_keys("ctrl-1").is_err());
    }
}
