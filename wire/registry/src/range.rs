//! Parts of a blob, for whoever does not want all of it.

use std::ops::Range;

use bytes::Bytes;
use http::{StatusCode, header};
use oci::image::Descriptor;

use crate::session::Right;
use crate::transport::Answer;
use crate::{Error, Kind, Repository};

/// Consecutive bytes of a blob as a stream. Unlike [`crate::Blob`] it is not resumed.
#[derive(Debug)]
pub struct Part {
    repository: Repository,
    answer: Answer,
    left: u64,
}

impl Repository {
    /// Asks for bytes of a blob. They are not verified: a part has no digest that the registry could
    /// be held to.
    ///
    /// # Errors
    /// Unsupported when the registry sends blobs as a whole only; corrupt when it sends something
    /// else than was asked for; else as [`Repository::resolve`].
    pub async fn part(&self, of: &Descriptor, range: Range<u64>) -> Result<Part, Error> {
        let length = range.end.saturating_sub(range.start);
        let Some(last) = range.end.checked_sub(1).filter(|_| length > 0) else {
            return Err(Error::new(Kind::Invalid, "an empty part of a blob"));
        };
        let asked = format!("bytes={}-{last}", range.start);
        let path = format!("blobs/{}", of.digest);
        let (answer, _) = self
            .get(&path, Right::Pull, &[(header::RANGE, asked)])
            .await?;
        if answer.head.status != StatusCode::PARTIAL_CONTENT {
            let text = format!("blob {}: the registry does not send parts", of.digest);
            return Err(Error::new(Kind::Unsupported, text));
        }
        let sent = answer.head.headers.get(header::CONTENT_RANGE);
        let wanted = format!("bytes {}-{last}/{}", range.start, of.size);
        if sent.is_none_or(|sent| sent.as_bytes() != wanted.as_bytes()) {
            let text = format!("asked for {wanted}, the registry sent {sent:?}");
            return Err(Error::new(Kind::Corrupt, text));
        }
        Ok(Part {
            repository: self.clone(),
            answer,
            left: length,
        })
    }
}

impl Part {
    /// The next bytes; `None` when all have come.
    ///
    /// # Errors
    /// Unavailable or timeout when the connection breaks off or stalls; corrupt when more comes.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let Some(bytes) = self.answer.chunk(self.repository.stall()).await? else {
                if self.left == 0 {
                    return Ok(None);
                }
                let text = format!("unexpected EOF: {} bytes of a part are missing", self.left);
                return Err(Error::new(Kind::Unavailable, text));
            };
            let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
                let text = "the registry sends more than was asked for";
                return Err(Error::new(Kind::Corrupt, text));
            };
            self.left = left;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// All of it, of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Part::next`].
    pub async fn read(mut self, limit: u64) -> Result<Vec<u8>, Error> {
        if self.left > limit {
            let text = format!("a part of {} bytes, {limit} are allowed", self.left);
            return Err(Error::new(Kind::Corrupt, text));
        }
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }
}
