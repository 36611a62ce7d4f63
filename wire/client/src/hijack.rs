//! Connections that the engine hands over: attach and exec.

use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::{CONNECTION, UPGRADE};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, ReadHalf, WriteHalf};

use crate::body::Body;
use crate::connect::Stream;
use crate::response::Response;
use crate::transport::Client;
use crate::{Error, Result};

/// A connection taken over from HTTP: raw bytes both ways.
#[derive(Debug)]
pub struct Hijacked {
    /// What the engine sends. Dropping it while `writer` lives leaves the connection open.
    pub reader: HijackReader,
    /// What goes to the container; `shutdown` closes this direction alone.
    pub writer: WriteHalf<Stream>,
    /// Whether the engine's side comes in frames (no terminal). `None` when it does not say
    /// (before 1.42).
    pub multiplexed: Option<bool>,
}

/// Reads what the engine sends, beginning with what came along with its answer.
#[derive(Debug)]
pub struct HijackReader {
    first: Bytes,
    rest: ReadHalf<Stream>,
    buffer: BytesMut,
}

impl HijackReader {
    /// Next bytes; `None` at the end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        if !self.first.is_empty() {
            return Ok(Some(std::mem::take(&mut self.first)));
        }
        self.buffer.reserve(32 << 10);
        if self.rest.read_buf(&mut self.buffer).await? == 0 {
            return Ok(None);
        }
        Ok(Some(self.buffer.split().freeze()))
    }
}

impl Client {
    /// `POST path` asking for the connection itself.
    ///
    /// # Errors
    /// As [`Client::request`], and an engine that does not hand the connection over.
    pub async fn hijack(&self, path: &str, body: Body) -> Result<Hijacked> {
        let version = self.api_version().await?;
        let headers = [
            (CONNECTION, "Upgrade".to_owned()),
            (UPGRADE, "tcp".to_owned()),
        ];
        let target = format!("/v{version}{path}");
        let request = self.build(&Method::POST, &target, &headers, body)?;
        let (mut response, connection) = self.dispatch(request).await?;
        let status = response.status().as_u16();
        if status != 101 {
            let error = Response::new(response, connection).into_result().await;
            return Err(error.err().unwrap_or(Error::NotHijacked {
                protocol: "tcp",
                status,
            }));
        }
        let multiplexed = match response.headers().get("content-type").map(|v| v.as_bytes()) {
            Some(b"application/vnd.docker.multiplexed-stream") => Some(true),
            Some(b"application/vnd.docker.raw-stream") => Some(false),
            _ => None,
        };
        let upgraded = hyper::upgrade::on(&mut response).await?;
        drop(connection);
        let parts = upgraded
            .downcast::<TokioIo<Stream>>()
            .map_err(|_| Error::Http("connection of an unknown kind".into()))?;
        let (rest, writer) = tokio::io::split(parts.io.into_inner());
        Ok(Hijacked {
            reader: HijackReader {
                first: parts.read_buf,
                rest,
                buffer: BytesMut::new(),
            },
            writer,
            multiplexed,
        })
    }
}
