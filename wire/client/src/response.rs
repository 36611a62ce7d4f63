//! Answers: whole, or as a stream.

use std::marker::PhantomData;

use bytes::{Buf as _, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::transport::{Chunk, Connection};
use crate::{Error, Result};

/// Longest text of an error answer that is read.
const ERROR_LIMIT: usize = 1 << 20;
/// Longest single value of a JSON stream.
const LINE_LIMIT: usize = 64 << 20;

/// An answer whose body has not been read yet.
#[derive(Debug)]
pub struct Response<'a> {
    status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
    connection: Option<Connection<'a>>,
}

impl<'a> Response<'a> {
    pub(crate) fn new(response: http::Response<Incoming>, connection: Connection<'a>) -> Self {
        let (head, body) = response.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            body,
            connection: Some(connection),
        }
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// A header, when it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Next part of the body; `None` at its end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn chunk(&mut self) -> Result<Option<Chunk>> {
        loop {
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        return Ok(Some(data));
                    }
                }
                None => {
                    if let Some(connection) = self.connection.take() {
                        connection.release();
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// The whole body.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn bytes(mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// The connection broke, or the body is not a `T`.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T> {
        let bytes = self.bytes().await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Reads and drops the body, so that the connection can be used again.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn drain(mut self) -> Result<()> {
        while self.chunk().await?.is_some() {}
        Ok(())
    }

    /// The body as a stream of JSON values.
    pub fn json_lines<T: DeserializeOwned>(self) -> JsonLines<'a, T> {
        JsonLines {
            response: self,
            buffer: BytesMut::new(),
            ended: false,
            kind: PhantomData,
        }
    }

    pub(crate) async fn into_result(mut self) -> Result<Self> {
        if self.status.as_u16() < 400 {
            return Ok(self);
        }
        let status = self.status.as_u16();
        let mut text = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            text.extend_from_slice(&chunk);
            if text.len() > ERROR_LIMIT {
                break;
            }
        }
        Err(Error::Daemon {
            status,
            message: error_message(&text, self.status),
        })
    }
}

fn error_message(body: &[u8], status: StatusCode) -> String {
    #[derive(serde::Deserialize)]
    struct Message {
        message: String,
    }
    let plain = String::from_utf8_lossy(body).trim().to_owned();
    match serde_json::from_slice::<Message>(body) {
        Ok(Message { message }) if !message.trim().is_empty() => message.trim().to_owned(),
        _ if plain.is_empty() => {
            let reason = status.canonical_reason().unwrap_or("unknown status");
            format!("request returned {reason} ({})", status.as_u16())
        }
        _ => plain,
    }
}

/// JSON values that come one after another, with or without line ends between them.
#[derive(Debug)]
pub struct JsonLines<'a, T> {
    response: Response<'a>,
    buffer: BytesMut,
    ended: bool,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonLines<'_, T> {
    /// Next value; `None` at the end.
    ///
    /// # Errors
    /// The connection broke, a value is not a `T`, or the stream ends inside one.
    pub async fn next(&mut self) -> Result<Option<T>> {
        loop {
            let mut values = serde_json::Deserializer::from_slice(&self.buffer).into_iter::<T>();
            let parsed = values.next();
            let used = values.byte_offset();
            match parsed {
                Some(Ok(value)) => {
                    self.buffer.advance(used);
                    return Ok(Some(value));
                }
                Some(Err(error)) if !error.is_eof() || self.ended => return Err(error.into()),
                None if self.ended => return Ok(None),
                _ => {}
            }
            if self.buffer.len() > LINE_LIMIT {
                return Err(Error::Http("value in stream is too long".into()));
            }
            match self.response.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => self.ended = true,
            }
        }
    }
}
