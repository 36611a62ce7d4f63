//! A blob as a stream that survives broken connections.

use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, header};
use oci::image::Descriptor;

use crate::client::Repository;
use crate::transport::Answer;
use crate::{Error, Kind};

/// So much progress makes up for a failure.
const PROGRESS: u64 = 1 << 20;

/// The bytes of a blob, exactly as many as its descriptor says.
#[derive(Debug)]
pub struct Blob {
    repository: Repository,
    descriptor: Descriptor,
    offset: u64,
    answer: Option<Answer>,
    /// Bytes to be thrown away, when the registry starts again from the beginning.
    skip: u64,
    failures: u32,
    attempts: u32,
    /// Offset at the last failure.
    failed_at: u64,
}

impl Blob {
    pub(crate) fn new(repository: Repository, descriptor: Descriptor, attempts: u32) -> Self {
        Self {
            repository,
            descriptor,
            offset: 0,
            answer: None,
            skip: 0,
            failures: 0,
            attempts,
            failed_at: 0,
        }
    }

    /// Bytes given so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next piece; `None` when all have come. A connection that breaks off or stalls is made
    /// anew from where it stopped.
    ///
    /// # Errors
    /// Not found, denied; unavailable or timeout when all attempts failed; corrupt when the
    /// registry sends more than was promised.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.step().await {
                Ok(step) => return Ok(step),
                Err(error) if error.is_transient() => self.after_failure(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Bytes>, Error> {
        if self.offset == self.descriptor.size && self.answer.is_none() {
            return Ok(None);
        }
        let mut answer = match self.answer.take() {
            Some(answer) => answer,
            None => self.open().await?,
        };
        loop {
            let Some(mut chunk) = answer.chunk(self.repository.stall()).await? else {
                if self.offset == self.descriptor.size {
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
            self.offset += chunk.len() as u64;
            if self.offset > self.descriptor.size {
                let text = format!(
                    "blob {} is longer than the {} bytes that its manifest says",
                    self.descriptor.digest, self.descriptor.size
                );
                return Err(Error::new(Kind::Corrupt, text));
            }
            self.answer = Some(answer);
            return Ok(Some(chunk));
        }
    }

    async fn open(&mut self) -> Result<Answer, Error> {
        let answer = self
            .repository
            .open_blob(&self.descriptor, self.offset)
            .await?;
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
        if self.offset > 0 {
            match answer.head.status {
                StatusCode::PARTIAL_CONTENT => {
                    let range = answer.head.headers.get(header::CONTENT_RANGE);
                    let start = format!("bytes {}-", self.offset);
                    if !range.is_some_and(|it| it.as_bytes().starts_with(start.as_bytes())) {
                        let text = format!("asked for {start}, the registry sent {range:?}");
                        return Err(Error::new(Kind::Corrupt, text));
                    }
                }
                // It does not know ranges: everything comes again.
                _ => self.skip = self.offset,
            }
        }
        Ok(answer)
    }

    async fn after_failure(&mut self, error: Error) -> Result<(), Error> {
        self.answer = None;
        if self.offset - self.failed_at >= PROGRESS {
            self.failures = 0;
        }
        self.failed_at = self.offset;
        self.failures += 1;
        if self.failures >= self.attempts {
            return Err(error);
        }
        let pause = Duration::from_millis(100) * 4u32.saturating_pow(self.failures - 1);
        tokio::time::sleep(pause.min(Duration::from_secs(5))).await;
        Ok(())
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
