//! The writing side: blobs by session (distribution-spec, "Pushing a blob in chunks"), mounts from
//! other repositories, manifests.
//!
//! A blob goes out in pieces that are held in memory, each a request: so a piece that was lost is
//! sent again from where the registry says it is, and nothing has to know its length before.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use oci::Digest;

use crate::auth::Challenge;
use crate::backoff::Backoff;
use crate::client::request;
use crate::config::{Endpoint, Origin};
use crate::redirect::join;
use crate::session::Repository;
use crate::transport::Answer;
use crate::{Error, Kind};

/// Bytes of a request, unless the registry wants more (`OCI-Chunk-Min-Length`).
const PIECE: usize = 8 << 20;
/// Most that a registry may want.
const LARGEST_PIECE: usize = 64 << 20;
/// For telling that an upload was given up.
const HASTE: Duration = Duration::from_secs(10);
/// Longest body of an answer that is not wanted.
const BODY_LIMIT: usize = 1 << 20;

/// How a blob begins.
#[derive(Debug)]
pub enum Begun {
    /// It is there already: taken over from another repository.
    Mounted,
    /// It has to be sent.
    Upload(Box<Upload>),
}

/// Told how long is waited before the next try.
type Told = Box<dyn Fn(Duration) + Send + Sync>;

/// A blob on its way.
pub struct Upload {
    repository: Repository,
    endpoint: Endpoint,
    location: Uri,
    /// Bytes that the registry has.
    offset: u64,
    piece: usize,
    told: Option<Told>,
    /// The registry has the blob, or keeps nothing of it any more.
    over: bool,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("location", &self.location)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl Repository {
    /// Whether the repository has a blob.
    ///
    /// # Errors
    /// Denied and the like, in docker's words; those of the connection.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let (endpoint, url) = self.push_url(&format!("blobs/{digest}")).await?;
        let answer = self
            .send(&endpoint, Method::HEAD, &url, &[], Bytes::new())
            .await;
        match answer {
            Ok(answer) => {
                self.finish(answer).await;
                Ok(true)
            }
            Err(error) if error.kind == Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Begins to send a blob. `mount`: its digest, and a repository of the same registry that may
    /// have it.
    ///
    /// # Errors
    /// As [`Repository::has_blob`].
    pub async fn begin(&self, mount: Option<(&Digest, &str)>) -> Result<Begun, Error> {
        if let Some((digest, from)) = mount {
            self.also_read(from);
            let path = format!("blobs/uploads/?mount={digest}&from={from}");
            match self.begin_at(&path).await {
                // That we may not read there is no reason not to write here.
                Err(error) if matches!(error.kind, Kind::Denied | Kind::Unauthorized) => {}
                begun => return begun,
            }
        }
        self.begin_at("blobs/uploads/").await
    }

    async fn begin_at(&self, path: &str) -> Result<Begun, Error> {
        let (endpoint, url) = self.push_url(path).await?;
        let answer = self
            .send(&endpoint, Method::POST, &url, &[], Bytes::new())
            .await?;
        if answer.head.status == StatusCode::CREATED {
            self.finish(answer).await;
            return Ok(Begun::Mounted);
        }
        let least = answer.head.headers.get("oci-chunk-min-length");
        let least = least.and_then(|value| value.to_str().ok()?.parse().ok());
        let base = url.parse::<Uri>().map_err(|error| invalid(&url, &error))?;
        let location = location(&base, &answer)?;
        self.finish(answer).await;
        Ok(Begun::Upload(Box::new(Upload {
            repository: self.clone(),
            endpoint,
            location,
            offset: 0,
            piece: PIECE.max(least.unwrap_or(0)).min(LARGEST_PIECE),
            told: None,
            over: false,
        })))
    }

    /// Gives a manifest a name: a tag or its digest. Answers the digest.
    ///
    /// # Errors
    /// As [`Repository::has_blob`]; corrupt when the registry read another digest.
    pub async fn put_manifest(
        &self,
        named: &str,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<Digest, Error> {
        let digest = crate::manifest::digest(&bytes);
        let (endpoint, url) = self.push_url(&format!("manifests/{named}")).await?;
        let headers = [(header::CONTENT_TYPE, media_type.to_owned())];
        let answer = self
            .send(&endpoint, Method::PUT, &url, &headers, bytes.into())
            .await?;
        let told = answer.head.headers.get("docker-content-digest").cloned();
        self.finish(answer).await;
        match told.as_ref().and_then(|value| value.to_str().ok()) {
            Some(told) if told != digest.as_str() => Err(Error::new(
                Kind::Corrupt,
                format!("the registry took manifest {digest} for {told}"),
            )),
            _ => Ok(digest),
        }
    }

    /// The registry itself, or a host that its `hosts.toml` names for writing.
    async fn push_url(&self, path: &str) -> Result<(Endpoint, String), Error> {
        let endpoint = self.own_endpoint().await?;
        let url = endpoint.url(&format!("{}/{path}", self.path()));
        Ok((endpoint, url))
    }

    /// Sends a request, again after failures that pass; an answer that is no success is an error.
    async fn send(
        &self,
        endpoint: &Endpoint,
        method: Method,
        url: &str,
        headers: &[(header::HeaderName, String)],
        body: Bytes,
    ) -> Result<Answer, Error> {
        let mut backoff = Backoff::new(self.attempts());
        loop {
            let sent = self.send_once(endpoint, &method, url, headers, body.clone());
            match sent.await {
                // Whoever no longer wants the push drops it, and this wait with it.
                Err(error) => tokio::time::sleep(backoff.after(error)?).await,
                sent => return sent,
            }
        }
    }

    async fn send_once(
        &self,
        endpoint: &Endpoint,
        method: &Method,
        url: &str,
        headers: &[(header::HeaderName, String)],
        body: Bytes,
    ) -> Result<Answer, Error> {
        let uri: Uri = url.parse().map_err(|error| invalid(url, &error))?;
        let base: Uri = endpoint.api.parse().map_err(|error| invalid(url, &error))?;
        let home = Origin::of(&base)?;
        for again in [true, false] {
            // Tokens are for the registry, not for where it keeps its uploads.
            let (mut request, authorization) = match Origin::of(&uri)? == home {
                true => (
                    request(endpoint, method.clone(), url),
                    self.authorization(endpoint).await?,
                ),
                false => (Request::builder().method(method.clone()).uri(url), None),
            };
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let Some(authorization) = &authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let request = request
                .body(body.clone())
                .map_err(|error| invalid(url, &error))?;
            let answer = self.exchange(endpoint, request).await?;
            let status = answer.head.status;
            // A blob that is somewhere else is there.
            if status.is_success() || (status.is_redirection() && *method == Method::HEAD) {
                return Ok(answer);
            }
            let challenge = Challenge::of(&answer.head.headers);
            let refusal = self.refusal(answer).await;
            if again && status == StatusCode::UNAUTHORIZED && challenge.is_some() {
                self.challenged(endpoint, challenge, authorization.as_deref());
                continue;
            }
            return Err(refusal.of_push());
        }
        Err(Error::new(
            Kind::Unauthorized,
            "unauthorized: authentication required",
        ))
    }

    /// Reads an answer to its end, so that the connection can be used again.
    async fn finish(&self, answer: Answer) {
        let _ = answer.read(BODY_LIMIT, self.stall()).await;
    }
}

impl Upload {
    /// Bytes that are to be given to [`Upload::send`] at once, but for the last.
    pub fn piece(&self) -> usize {
        self.piece
    }

    /// `told` is called before each wait for another try.
    pub fn on_retry(&mut self, told: impl Fn(Duration) + Send + Sync + 'static) {
        self.told = Some(Box::new(told));
    }

    /// Sends the next piece.
    ///
    /// # Errors
    /// As [`Repository::has_blob`], when it did not get through in several tries.
    pub async fn send(&mut self, piece: Bytes) -> Result<(), Error> {
        let start = self.offset;
        let end = start + piece.len() as u64;
        let mut backoff = Backoff::new(self.repository.attempts());
        while self.offset < end {
            // What the registry has of it is not sent again.
            let from = usize::try_from(self.offset - start).unwrap_or(usize::MAX);
            let rest = piece.slice(from.min(piece.len())..);
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                (
                    header::CONTENT_RANGE,
                    format!("{}-{}", self.offset, end - 1),
                ),
            ];
            let url = self.location.to_string();
            let sent = self
                .repository
                .send_once(&self.endpoint, &Method::PATCH, &url, &headers, rest)
                .await;
            match sent {
                Ok(answer) => {
                    self.location = location(&self.location, &answer)?;
                    self.repository.finish(answer).await;
                    self.offset = end;
                }
                // Also when it has another part of it than we think.
                Err(error) => {
                    let pause = backoff.after(error)?;
                    if let Some(told) = &self.told {
                        told(pause);
                    }
                    tokio::time::sleep(pause).await;
                    self.ask(start, end).await?;
                }
            }
        }
        Ok(())
    }

    /// Asks how far the registry is ("Pushing a blob in chunks": GET of the location).
    async fn ask(&mut self, start: u64, end: u64) -> Result<(), Error> {
        let url = self.location.to_string();
        let answer = self
            .repository
            .send(&self.endpoint, Method::GET, &url, &[], Bytes::new())
            .await?;
        let range = answer.head.headers.get(header::RANGE);
        let last = range.and_then(|value| value.to_str().ok()?.rsplit('-').next()?.parse().ok());
        self.location = location(&self.location, &answer).unwrap_or(self.location.clone());
        self.repository.finish(answer).await;
        // `0-0` is what registries say of one byte and of none.
        let has = last.map_or(0, |last: u64| if last == 0 { 0 } else { last + 1 });
        if has < start || has > end {
            let text = format!("the registry has {has} bytes of the upload, not {start} to {end}");
            return Err(Error::new(Kind::Corrupt, text));
        }
        self.offset = has;
        Ok(())
    }

    /// Sends the last piece, which may be all of the blob or nothing, and ends it. It must have
    /// this digest.
    ///
    /// # Errors
    /// As [`Repository::has_blob`].
    pub async fn commit(mut self, digest: &Digest, last: Bytes) -> Result<(), Error> {
        let committed = self.end(digest, last).await;
        self.over |= committed.is_ok();
        committed
    }

    async fn end(&mut self, digest: &Digest, last: Bytes) -> Result<(), Error> {
        let small = last.len() <= PIECE;
        let (mut last, whole) = match small {
            true => (last, self.offset == 0),
            false => {
                self.send(last).await?;
                (Bytes::new(), false)
            }
        };
        match self.finish(digest, last.clone(), whole).await {
            // It may have come in part: what is missing goes by itself, and the end again.
            Err(error) if error.is_transient() && !last.is_empty() => {
                let mut backoff = Backoff::new(self.repository.attempts());
                let pause = backoff.after(error)?;
                if let Some(told) = &self.told {
                    told(pause);
                }
                tokio::time::sleep(pause).await;
                let (start, end) = (self.offset, self.offset + last.len() as u64);
                if self.ask(start, end).await.is_err() {
                    // The upload is over: was it the answer alone that got lost?
                    self.over = true;
                    return match self.repository.has_blob(digest).await? {
                        true => Ok(()),
                        false => Err(Error::new(
                            Kind::Unavailable,
                            format!("the registry lost the upload of {digest}"),
                        )),
                    };
                }
                let has = usize::try_from(self.offset - start).unwrap_or(usize::MAX);
                let rest = last.split_off(has.min(last.len()));
                if !rest.is_empty() {
                    self.send(rest).await?;
                }
                self.finish(digest, Bytes::new(), false).await
            }
            finished => finished,
        }
    }

    async fn finish(&self, digest: &Digest, last: Bytes, whole: bool) -> Result<(), Error> {
        let separator = if self.location.query().is_some() {
            '&'
        } else {
            '?'
        };
        let url = format!(
            "{}{separator}digest={}",
            self.location,
            digest.as_str().replace(':', "%3A")
        );
        let mut headers = Vec::new();
        if !last.is_empty() {
            headers.push((header::CONTENT_TYPE, "application/octet-stream".to_owned()));
            if !whole {
                let end = self.offset + last.len() as u64 - 1;
                headers.push((header::CONTENT_RANGE, format!("{}-{end}", self.offset)));
            }
        }
        let answer = match last.is_empty() {
            true => {
                self.repository
                    .send(&self.endpoint, Method::PUT, &url, &headers, last)
                    .await?
            }
            // What came of it must be asked for before it is sent again.
            false => {
                self.repository
                    .send_once(&self.endpoint, &Method::PUT, &url, &headers, last)
                    .await?
            }
        };
        self.repository.finish(answer).await;
        Ok(())
    }
}

impl Drop for Upload {
    /// What the registry has of a blob that will not come is of no use to it ("Canceling a blob
    /// upload"). It is told once, without anybody waiting: it forgets uploads by itself, later.
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.over {
            return;
        }
        let (repository, endpoint) = (self.repository.clone(), self.endpoint.clone());
        let url = self.location.to_string();
        runtime.spawn(async move {
            let telling = async {
                let method = Method::DELETE;
                let told = repository.send_once(&endpoint, &method, &url, &[], Bytes::new());
                if let Ok(answer) = told.await {
                    repository.finish(answer).await;
                }
            };
            let _ = tokio::time::timeout(HASTE, telling).await;
        });
    }
}

fn location(base: &Uri, answer: &Answer) -> Result<Uri, Error> {
    let location = answer.head.headers.get(header::LOCATION);
    let to = location.and_then(|value| join(base, value.to_str().ok()?));
    to.ok_or_else(|| {
        let text = format!("{base}: the registry did not say where to send the blob");
        Error::new(Kind::Unavailable, text)
    })
}

fn invalid(url: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Invalid, format!("{url}: {error}"))
}
