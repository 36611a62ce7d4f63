//! Websockets (RFC 6455) of which only the bytes matter: `attach/ws`.
//!
//! ```text
//!  client ─ frames ─► receive ─ payloads ─►┐
//!                        │ pongs, ends     socketpair ─► the session
//!  client ◄─ frames ── send ◄─ output ────┘
//! ```
//!
//! As with dockerd, where a frame begins and ends means nothing: payloads are passed on as they come,
//! none is ever held whole. What the client sends ends with its Close frame, or with its side of the
//! connection; the output goes on to its own end, and then the engine closes. A client that leaves
//! after its Close has left.

use std::io::{self, Cursor};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use engine::{Error, Result};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};

use crate::body::ResponseBody;
use crate::hijack::Hijack;

/// Bytes read at once.
const CHUNK: usize = 32 << 10;
/// Of what a Ping carries (RFC 6455, section 5.5).
const LONGEST_CONTROL: u64 = 125;
/// Pongs that may wait for a slow client; it gets no more than that many.
const PONGS: usize = 4;
/// How long the client's end is waited for after ours.
const CLOSING: Duration = Duration::from_secs(5);

/// A stream that is to go on as a websocket.
#[derive(Debug)]
pub(crate) struct WebSocket {
    hijack: Hijack,
    accept: HeaderValue,
    protocol: Option<HeaderValue>,
    frames: Data,
    /// A Close of the client ends its input only.
    input: bool,
}

impl WebSocket {
    /// For a request that asks for one. `text`: output goes into frames of text, whatever it is, as
    /// old clients have it; `input`: the client may send something.
    ///
    /// # Errors
    /// Invalid parameter when the request asks for something else.
    pub(crate) fn new(
        headers: &HeaderMap,
        hijack: Hijack,
        text: bool,
        input: bool,
    ) -> Result<Self> {
        if !has(headers, &UPGRADE, "websocket") || !has(headers, &CONNECTION, "upgrade") {
            return Err(Error::invalid("not websocket protocol"));
        }
        if !has(headers, &SEC_WEBSOCKET_VERSION, "13") {
            return Err(Error::invalid("missing or bad WebSocket Version"));
        }
        let key = headers.get(SEC_WEBSOCKET_KEY);
        let key = key.ok_or_else(|| Error::invalid("mismatch challenge/response"))?;
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
            .map_err(|error| Error::system(format!("websocket: {error}")))?;
        // One that is offered alone is agreed to: it is the client's own matter.
        let offered = headers.get(SEC_WEBSOCKET_PROTOCOL);
        let offered = offered.filter(|offered| !offered.as_bytes().contains(&b','));
        Ok(Self {
            hijack,
            accept,
            protocol: offered.cloned(),
            frames: if text { Data::Text } else { Data::Binary },
            input,
        })
    }

    /// The 101, after which frames follow.
    pub(crate) fn upgrade(self, on_upgrade: OnUpgrade) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        if let Some(protocol) = &self.protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol.clone());
        }
        tokio::spawn(async move {
            match on_upgrade.await {
                Ok(upgraded) => {
                    if let Err(error) = self.run(TokioIo::new(upgraded)).await {
                        tracing::debug!(%error, "a websocket ended");
                    }
                }
                Err(error) => tracing::debug!(%error, "client left before the upgrade"),
            }
        });
        response
    }

    async fn run(self, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (output, input) = UnixStream::from_std(ours)?.into_split();
        let hijack = self.hijack;
        tokio::spawn(async move { hijack.run(theirs.into(), Vec::new()).await });
        let (reader, writer) = tokio::io::split(stream);
        let (answers, asked) = mpsc::channel(PONGS);
        let sending = send(writer, output, asked, self.frames);
        let receiving = receive(reader, input, answers, self.input);
        let (mut sending, mut receiving) = (std::pin::pin!(sending), std::pin::pin!(receiving));
        tokio::select! {
            sent = &mut sending => {
                sent?;
                // Closing a connection over what was not read would take back what was sent.
                let _ = tokio::time::timeout(CLOSING, receiving).await;
                Ok(())
            }
            end = &mut receiving => match end? {
                End::Gone => Ok(()),
                End::InputOnly => sending.await,
            },
        }
    }
}

/// Whether a list in a header names something.
fn has(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(wanted))
}

/// What the sending side is to say beside output.
enum Answer {
    Pong(Bytes),
    /// Close, and no more.
    Close(CloseCode),
}

/// How receiving ended.
enum End {
    /// The client sends no more, and may still read.
    InputOnly,
    /// The client has left, or was told to.
    Gone,
}

/// Payloads to `input`, until the client's end.
async fn receive(
    mut reader: impl AsyncRead + Unpin,
    mut input: impl AsyncWrite + Unpin,
    answers: mpsc::Sender<Answer>,
    may_send: bool,
) -> io::Result<End> {
    let mut buffer = BytesMut::with_capacity(CHUNK);
    let mut closed = false;
    loop {
        let (header, length) = match parse(&mut buffer) {
            Ok(Some(parsed)) => parsed,
            Ok(None) if reader.read_buf(&mut buffer).await? > 0 => continue,
            Ok(None) if closed => return Ok(End::Gone),
            Ok(None) => {
                let _ = input.shutdown().await;
                return Ok(End::InputOnly);
            }
            Err(code) => return refuse(reader, &answers, code).await,
        };
        let mut payload = Payload::new(&header, length);
        match header.opcode {
            OpCode::Data(_) => {
                while let Some(piece) = payload.next(&mut reader, &mut buffer).await? {
                    // A process that takes no more input leaves the rest to nobody.
                    if !closed {
                        let _ = input.write_all(&piece).await;
                    }
                }
            }
            OpCode::Control(kind) => {
                let mut whole = Vec::new();
                while let Some(piece) = payload.next(&mut reader, &mut buffer).await? {
                    whole.extend_from_slice(&piece);
                }
                match kind {
                    // One who sends many and reads none gets few.
                    Control::Ping => drop(answers.try_send(Answer::Pong(whole.into()))),
                    Control::Close if may_send => {
                        closed = true;
                        let _ = input.shutdown().await;
                    }
                    Control::Close => return refuse(reader, &answers, CloseCode::Normal).await,
                    _ => {}
                }
            }
        }
    }
}

/// Has the client told that this is the end, and waits for its own.
async fn refuse(
    mut reader: impl AsyncRead + Unpin,
    answers: &mpsc::Sender<Answer>,
    code: CloseCode,
) -> io::Result<End> {
    let _ = answers.send(Answer::Close(code)).await;
    tokio::io::copy(&mut reader, &mut tokio::io::sink()).await?;
    Ok(End::Gone)
}

/// A frame's header, taken off the buffer when it is there whole; its payload's length.
fn parse(buffer: &mut BytesMut) -> std::result::Result<Option<(FrameHeader, u64)>, CloseCode> {
    let mut cursor = Cursor::new(&buffer[..]);
    let parsed = FrameHeader::parse(&mut cursor).map_err(|_| CloseCode::Protocol)?;
    let Some((header, length)) = parsed else {
        return Ok(None);
    };
    let taken = usize::try_from(cursor.position()).map_err(|_| CloseCode::Protocol)?;
    let is_control = matches!(header.opcode, OpCode::Control(_));
    let extended = header.rsv1 || header.rsv2 || header.rsv3;
    let reserved = matches!(
        header.opcode,
        OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_))
    );
    let long = is_control && (length > LONGEST_CONTROL || !header.is_final);
    if extended || reserved || long || header.mask.is_none() {
        return Err(CloseCode::Protocol);
    }
    buffer.advance(taken);
    Ok(Some((header, length)))
}

/// What is still to come of a frame.
struct Payload {
    left: u64,
    mask: [u8; 4],
    /// Of the payload so far, for the mask.
    position: usize,
}

impl Payload {
    fn new(header: &FrameHeader, length: u64) -> Self {
        Self {
            left: length,
            mask: header.mask.unwrap_or_default(),
            position: 0,
        }
    }

    /// The next piece in the clear; `None` at the end.
    async fn next(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        buffer: &mut BytesMut,
    ) -> io::Result<Option<BytesMut>> {
        if self.left == 0 {
            return Ok(None);
        }
        if buffer.is_empty() {
            buffer.reserve(CHUNK);
            if reader.read_buf(buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let length = usize::try_from(self.left).unwrap_or(usize::MAX);
        let mut piece = buffer.split_to(buffer.len().min(length));
        for byte in piece.iter_mut() {
            *byte ^= self.mask[self.position % 4];
            self.position = (self.position + 1) % 4;
        }
        self.left -= piece.len() as u64;
        Ok(Some(piece))
    }
}

/// Output into frames, until its end; then Close, and our side of the connection.
async fn send(
    mut writer: impl AsyncWrite + Unpin,
    mut output: impl AsyncRead + Unpin,
    mut asked: mpsc::Receiver<Answer>,
    frames: Data,
) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(CHUNK);
    let code = loop {
        buffer.clear();
        let answer = tokio::select! {
            Some(answer) = asked.recv() => answer,
            read = output.read_buf(&mut buffer) => match read {
                Ok(0) | Err(_) => break CloseCode::Normal,
                Ok(_) => {
                    write(&mut writer, OpCode::Data(frames), &buffer).await?;
                    continue;
                }
            },
        };
        match answer {
            Answer::Pong(payload) => {
                write(&mut writer, OpCode::Control(Control::Pong), &payload).await?;
            }
            Answer::Close(code) => break code,
        }
    };
    let close = Frame::close(Some(CloseFrame {
        code,
        reason: "".into(),
    }));
    write(
        &mut writer,
        OpCode::Control(Control::Close),
        close.payload(),
    )
    .await?;
    writer.shutdown().await
}

async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    opcode: OpCode,
    payload: &[u8],
) -> io::Result<()> {
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    let mut frame = BytesMut::with_capacity(payload.len() + 14).writer();
    header
        .format(payload.len() as u64, &mut frame)
        .map_err(io::Error::other)?;
    let mut frame = frame.into_inner();
    frame.put_slice(payload);
    writer.write_all(&frame).await?;
    writer.flush().await
}

#[cfg(test)]
mod tests;
