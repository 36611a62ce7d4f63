//! A blob, or a part of one, as a stream that survives broken connections.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, header};
use oci::image::Descriptor;

use crate::backoff::Backoff;
use crate::session::Repository;
use crate::transport::Answer;
use crate::{Error, Kind};

/// So much progress makes up for a failure.
const PROGRESS: u64 = 1 << 20;

/// What comes of a blob next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The next bytes.
    Bytes(Bytes),
    /// Something failed that may pass. The next [`Blob::next`] waits so long and asks again for
    /// what has not come.
    Retrying {
        /// The wait.
        after: Duration,
        /// What failed.
        why: Error,
    },
}

/// The bytes of a blob from one offset to another.
#[derive(Debug)]
pub struct Blob {
    repository: Repository,
    descriptor: Descriptor,
    offset: u64,
    end: u64,
    answer: Option<Answer>,
    /// Where the answer ends.
    answered: u64,
    /// The endpoint of the last answer.
    source: String,
    /// Bytes to be thrown away, when the registry starts again from the beginning.
    skip: u64,
    ranges: bool,
    backoff: Backoff,
    wait: Duration,
    /// Offset at the last failure.
    failed_at: u64,
}

impl Blob {
    pub(crate) fn new(
        repository: Repository,
        descriptor: Descriptor,
        range: Range<u64>,
        attempts: u32,
    ) -> Self {
        Self {
            repository,
            offset: range.start,
            end: range.end.min(descriptor.size),
            descriptor,
            answer: None,
            answered: 0,
            source: String::new(),
            skip: 0,
            ranges: false,
            backoff: Backoff::new(attempts),
            wait: Duration::ZERO,
            failed_at: range.start,
        }
    }

    /// Where the next piece begins in the blob.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Somebody else fetches what comes after `end`.
    pub fn shorten(&mut self, end: u64) {
        self.end = self.end.min(end).max(self.offset);
    }

    /// Whether the registry has shown that it can send parts of blobs.
    pub fn ranges(&self) -> bool {
        self.ranges
    }

    /// Who sent the last piece, for [`Repository::distrust`].
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The next piece; `None` when all have come. A connection that breaks off or stalls is made
    /// anew from where it stopped. The bytes are not verified.
    ///
    /// # Errors
    /// Not found, denied; unavailable, rate limited or timeout when all attempts failed; corrupt
    /// when the registry sends more than was promised.
    pub async fn next(&mut self) -> Result<Option<Piece>, Error> {
        if !self.wait.is_zero() {
            tokio::time::sleep(self.wait).await;
            self.wait = Duration::ZERO;
        }
        match self.step().await {
            Ok(step) => Ok(step.map(Piece::Bytes)),
            Err(why) => {
                self.answer = None;
                if self.offset - self.failed_at >= PROGRESS {
                    self.backoff.reset();
                }
                self.failed_at = self.offset;
                let after = self.backoff.after(why.clone())?;
                self.wait = after;
                Ok(Some(Piece::Retrying { after, why }))
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Bytes>, Error> {
        if self.offset >= self.end && (self.answer.is_none() || self.answered != self.end) {
            // What would still come is for somebody else, or nothing.
            self.answer = None;
            return Ok(None);
        }
        let mut answer = match self.answer.take() {
            Some(answer) => answer,
            None => self.open().await?,
        };
        loop {
            let Some(mut chunk) = answer.chunk(self.repository.stall()).await? else {
                if self.offset >= self.end {
                    return Ok(None);
                }
                let text = format!(
                    "unexpected EOF: blob {} has {} bytes, {} came",
                    self.descriptor.digest, self.descriptor.size, self.offset
                );
                return Err(Error::new(Kind::Unavailable, text));
            };
            let skipped = self.skip.min(chunk.len() as u64);
            self.skip -= skipped;
            let _ = chunk.split_to(usize::try_from(skipped).unwrap_or(chunk.len()));
            if chunk.is_empty() {
                continue;
            }
            if self.offset + chunk.len() as u64 > self.answered {
                let text = format!(
                    "blob {} is longer than the {} bytes that its manifest says",
                    self.descriptor.digest, self.descriptor.size
                );
                return Err(Error::new(Kind::Corrupt, text));
            }
            let wanted = usize::try_from(self.end.saturating_sub(self.offset));
            chunk.truncate(wanted.unwrap_or(chunk.len()));
            self.offset += chunk.len() as u64;
            self.answer = Some(answer);
            if chunk.is_empty() {
                self.answer = None;
                return Ok(None);
            }
            return Ok(Some(chunk));
        }
    }

    async fn open(&mut self) -> Result<Answer, Error> {
        let whole = self.offset == 0 && self.end == self.descriptor.size;
        let range = (!whole).then_some(self.offset..self.end);
        let (answer, source) = self.repository.open_blob(&self.descriptor, range).await?;
        self.source = source;
        self.skip = 0;
        if let Some(length) = whole_length(&answer)
            && length != self.descriptor.size
        {
            let text = format!(
                "blob {} has {length} bytes, its manifest says {}",
                self.descriptor.digest, self.descriptor.size
            );
            return Err(Error::new(Kind::Corrupt, text));
        }
        let headers = &answer.head.headers;
        let accepts = headers.get(header::ACCEPT_RANGES);
        match answer.head.status {
            StatusCode::PARTIAL_CONTENT => {
                let range = headers.get(header::CONTENT_RANGE);
                let start = format!("bytes {}-", self.offset);
                let Some(last) = range
                    .and_then(|it| it.to_str().ok()?.strip_prefix(&start)?.split('/').next())
                    .and_then(|last| last.parse::<u64>().ok())
                else {
                    let text = format!("asked for {start}, the registry sent {range:?}");
                    return Err(Error::new(Kind::Corrupt, text));
                };
                self.ranges = true;
                self.answered = last.saturating_add(1).min(self.descriptor.size);
            }
            _ => {
                // Of a range that was asked for it knows nothing: everything comes again.
                self.ranges = whole && accepts.is_some_and(|it| it.as_bytes() == b"bytes");
                self.skip = self.offset;
                self.answered = self.descriptor.size;
            }
        }
        Ok(answer)
    }
}

/// The length of the whole blob, where the registry tells it.
fn whole_length(answer: &Answer) -> Option<u64> {
    let of = |name| answer.head.headers.get(name)?.to_str().ok();
    match answer.head.status {
        StatusCode::OK => of(header::CONTENT_LENGTH)?.parse().ok(),
        // `bytes 5-9/10`; the last part may be `*`.
        StatusCode::PARTIAL_CONTENT => of(header::CONTENT_RANGE)?.rsplit('/').next()?.parse().ok(),
        _ => None,
    }
}
