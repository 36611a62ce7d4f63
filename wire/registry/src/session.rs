//! One repository for one caller: finds an endpoint that answers, authenticates, asks, follows
//! redirects.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, Request, StatusCode, Uri, header};
use oci::Reference;
use oci::image::Descriptor;
use tokio::sync::Mutex as AsyncMutex;

use crate::auth::{self, Challenge, Credentials, NoToken, Token, Want, scopes};
use crate::backoff::Backoff;
use crate::client::{Client, request};
use crate::config::{Endpoint, Origin};
use crate::error::Refusal;
use crate::transport::Answer;
use crate::{Config, Error, Kind, redirect};

/// In the place of actions: nothing of the repository itself is wanted.
pub(crate) const SEARCH: &str = "search";

/// One repository for one caller's credentials. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository(Arc<Session>);

#[derive(Debug)]
struct Session {
    client: Client,
    /// As they were when the session began.
    config: Arc<Config>,
    reference: Reference,
    credentials: Credentials,
    /// What tokens are asked for: `pull` or `pull,push`.
    actions: &'static str,
    /// What they are asked for besides, to mount blobs of other repositories.
    scopes: Mutex<BTreeSet<String>>,
    /// Endpoints left to try; the first that has the right is the one in use.
    endpoints: Mutex<Result<Vec<Endpoint>, Error>>,
    /// By root of the endpoint's API.
    access: Mutex<HashMap<String, Access>>,
    /// Who has it gets a token; others find it.
    turn: AsyncMutex<()>,
}

/// What is known of an endpoint.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    pub(crate) challenge: Option<Challenge>,
    pub(crate) token: Option<Token>,
}

/// What an endpoint is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    Pull,
    Resolve,
    Push,
}

impl Right {
    fn is_of(self, endpoint: &Endpoint) -> bool {
        match self {
            Self::Pull => endpoint.pull,
            Self::Resolve => endpoint.resolve,
            Self::Push => endpoint.push,
        }
    }
}

impl Repository {
    pub(crate) fn new(
        client: Client,
        config: Arc<Config>,
        reference: &Reference,
        credentials: &Credentials,
        actions: &'static str,
    ) -> Self {
        // Docker Hub has its search on another host.
        let endpoints = match actions {
            SEARCH if reference.domain() == "docker.io" => config.endpoints("index.docker.io"),
            _ => config.endpoints(reference.domain()),
        };
        let endpoints = endpoints.map(|found| plain_first(&client, found));
        Self(Arc::new(Session {
            client,
            config,
            reference: reference.clone(),
            credentials: credentials.clone(),
            actions,
            scopes: Mutex::default(),
            endpoints: Mutex::new(endpoints),
            access: Mutex::default(),
            turn: AsyncMutex::default(),
        }))
    }

    /// Asks nothing more of an endpoint ([`crate::Blob::source`]) that sent what it should not
    /// have. False when there is no other to ask.
    pub fn distrust(&self, source: &str) -> bool {
        let mut endpoints = lock(&self.0.endpoints);
        let Ok(endpoints) = endpoints.as_mut() else {
            return false;
        };
        let was_mirror = endpoints.iter().any(|it| it.api == source && it.mirror);
        // The same registry without TLS is no other.
        let others = endpoints
            .iter()
            .any(|it| it.api != source && it.pull && (was_mirror || it.mirror));
        if others {
            endpoints.retain(|other| other.api != source);
        }
        others
    }

    pub(crate) fn reference(&self) -> &Reference {
        &self.0.reference
    }

    pub(crate) fn stall(&self) -> Duration {
        self.0.config.stall
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.0.config.attempts
    }

    /// Opens a part of a blob, or all of it. One try: the rest is the caller's. The second value
    /// tells who answered.
    pub(crate) async fn open_blob(
        &self,
        of: &Descriptor,
        range: Option<Range<u64>>,
    ) -> Result<(Answer, String), Error> {
        let headers: Vec<_> = range
            .map(|range| {
                let wanted = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
                (header::RANGE, wanted)
            })
            .into_iter()
            .collect();
        let path = format!("blobs/{}", of.digest);
        let asked = self.get_once(&path, Right::Pull, &headers).await;
        match asked {
            Err(error) if error.kind == Kind::NotFound && !of.urls.is_empty() => {
                self.open_elsewhere(of, &headers).await.map_err(|_| error)
            }
            asked => asked,
        }
    }

    /// A layer that registries do not keep, from where its descriptor says. Nobody there is shown
    /// who we are.
    async fn open_elsewhere(
        &self,
        of: &Descriptor,
        headers: &[(HeaderName, String)],
    ) -> Result<(Answer, String), Error> {
        let mut last = Error::new(Kind::NotFound, "no URL");
        for url in &of.urls {
            let trust = crate::config::Trust::default();
            let endpoint = Endpoint {
                api: url.clone(),
                mirror: true,
                trust,
                headers: Vec::new(),
                pull: true,
                resolve: false,
                push: false,
                namespace: None,
            };
            let mut request = Request::get(url);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let Ok(request) = request.body(Bytes::new()) else {
                continue;
            };
            match self.follow(&endpoint, request).await {
                Ok(answer) if answer.head.status.is_success() => {
                    return Ok((answer, url.clone()));
                }
                Ok(answer) => last = self.refused(&self.refusal(answer).await),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A GET, again after failures that pass. The second value tells who answered. Paths are below
    /// the repository, but for those that begin with `/v1/` and `/v2/`.
    pub(crate) async fn get(
        &self,
        path: &str,
        right: Right,
        headers: &[(HeaderName, String)],
    ) -> Result<(Answer, String), Error> {
        let mut backoff = Backoff::new(self.attempts()).within(self.0.config.longest_wait);
        loop {
            match self.get_once(path, right, headers).await {
                // One that cannot be reached is told at once, one that is busy is waited for.
                Err(error) if error.busy => {
                    tokio::time::sleep(backoff.after(error)?).await;
                }
                asked => return asked,
            }
        }
    }

    /// The same: each endpoint once.
    async fn get_once(
        &self,
        path: &str,
        right: Right,
        headers: &[(HeaderName, String)],
    ) -> Result<(Answer, String), Error> {
        let mut last = Error::new(Kind::Invalid, "no endpoint to ask");
        loop {
            let Some(endpoint) = self.endpoint(right)? else {
                return Err(last);
            };
            let failure = match self.get_at(&endpoint, path, headers).await {
                Ok(answer) => return Ok((answer, endpoint.api)),
                Err(error) => error,
            };
            // A mirror may fail in any way; the registry itself only by not being reached at all.
            let reached = self.access(&endpoint).is_some();
            if failure.kind == Kind::Offline || (!endpoint.mirror && reached) {
                return Err(failure);
            }
            last = failure;
            self.give_up(&endpoint);
        }
    }

    async fn get_at(
        &self,
        endpoint: &Endpoint,
        path: &str,
        headers: &[(HeaderName, String)],
    ) -> Result<Answer, Error> {
        let session = &self.0;
        self.know(endpoint).await?;
        let url = match (path.strip_prefix("/v1/"), path.strip_prefix("/v2/")) {
            (Some(path), _) => format!("{}/v1/{path}", endpoint.api.trim_end_matches("/v2")),
            (_, Some(path)) => endpoint.url(path),
            _ => endpoint.url(&format!("{}/{path}", session.reference.path())),
        };
        for again in [true, false] {
            let mut request = request(endpoint, Method::GET, &url);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let authorization = self.authorization(endpoint).await?;
            if let Some(authorization) = &authorization {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let request = request
                .body(Bytes::new())
                .map_err(|error| Error::new(Kind::Invalid, format!("{url}: {error}")))?;
            let answer = self.follow(endpoint, request).await?;
            let status = answer.head.status;
            if status.is_success() {
                return Ok(answer);
            }
            let challenge = Challenge::of(&answer.head.headers);
            let refusal = session.client.refusal(answer).await;
            if again && status == StatusCode::UNAUTHORIZED && challenge.is_some() {
                self.challenged(endpoint, challenge, authorization.as_deref());
                continue;
            }
            return Err(self.refused(&refusal));
        }
        Err(Error::new(
            Kind::Unauthorized,
            "unauthorized: authentication required",
        ))
    }

    /// Sends a request and follows redirects; our credentials stay with the first host.
    async fn follow(&self, endpoint: &Endpoint, request: Request<Bytes>) -> Result<Answer, Error> {
        let (mut request, mut trust) = (request, endpoint.trust.clone());
        for _ in 0..redirect::MOST {
            let from = request.uri().clone();
            let mut next = request.clone();
            let answer = self.0.client.transport.send(request, &trust).await?;
            let lax = endpoint.trust.skip_verify;
            let Some(to) = redirect::target(&answer, &from, lax)? else {
                return Ok(answer);
            };
            let (old, new) = (Origin::of(&from)?, Origin::of(&to)?);
            if old != new {
                // Nothing of what is between us and the first host is for another one.
                next.headers_mut().remove(header::AUTHORIZATION);
                for (name, _) in &endpoint.headers {
                    next.headers_mut().remove(name);
                }
                trust = endpoint.trust.of_others();
            }
            *next.uri_mut() = to;
            request = next;
        }
        Err(redirect::too_many())
    }

    /// Makes sure that what an endpoint wants to know of us is known.
    async fn know(&self, endpoint: &Endpoint) -> Result<(), Error> {
        if self.access(endpoint).is_some() {
            return Ok(());
        }
        let _turn = self.0.turn.lock().await;
        if self.access(endpoint).is_none() {
            let transport = &self.0.client.transport;
            let challenge = match transport.challenge(endpoint) {
                Some(known) => known,
                None => {
                    let found = self.0.client.ping(endpoint).await?;
                    transport.challenged(endpoint, found.clone());
                    found
                }
            };
            let token = None;
            self.set_access(endpoint, Access { challenge, token });
        }
        Ok(())
    }

    /// A 401: the token ended early, or this path wants another one than `/v2/` did. A token that
    /// somebody else got since `used` is left in place.
    pub(crate) fn challenged(
        &self,
        endpoint: &Endpoint,
        challenge: Option<Challenge>,
        used: Option<&str>,
    ) {
        let known = self.access(endpoint).unwrap_or_default();
        let newer = known.token.filter(|token| {
            used.and_then(|used| used.strip_prefix("Bearer ")) != Some(token.value.as_str())
        });
        let token = newer.filter(|_| known.challenge == challenge);
        self.set_access(endpoint, Access { challenge, token });
    }

    /// `Authorization` for an endpoint, with a token got for it where it wants one.
    pub(crate) async fn authorization(&self, endpoint: &Endpoint) -> Result<Option<String>, Error> {
        let session = &self.0;
        // What is meant for Docker Hub is not for its mirrors.
        let anonymous = Credentials::default();
        let credentials = if endpoint.mirror {
            &anonymous
        } else {
            &session.credentials
        };
        if !credentials.registry_token.is_empty() {
            return Ok(Some(format!("Bearer {}", credentials.registry_token)));
        }
        if let Some(ready) = self.ready(endpoint, credentials) {
            return Ok(ready);
        }
        let _turn = session.turn.lock().await;
        if let Some(ready) = self.ready(endpoint, credentials) {
            return Ok(ready);
        }
        let access = self.access(endpoint).unwrap_or_default();
        let Some(Challenge::Bearer {
            realm,
            service,
            scope,
        }) = &access.challenge
        else {
            return Ok(None);
        };
        let mut wanted = scopes(scope);
        if wanted.is_empty() && session.actions != SEARCH {
            let (path, actions) = (session.reference.path(), session.actions);
            wanted.push(format!("repository:{path}:{actions}"));
        }
        for other in lock(&session.scopes).iter() {
            if !wanted.contains(other) {
                wanted.push(other.clone());
            }
        }
        let want = Want {
            realm,
            service,
            scopes: &wanted,
            offline: false,
            endpoint,
        };
        match auth::fetch(&session.client.transport, credentials, &want).await {
            Ok((token, _)) => {
                let value = format!("Bearer {}", token.value);
                let challenge = access.challenge.clone();
                let token = Some(token);
                self.set_access(endpoint, Access { challenge, token });
                Ok(Some(value))
            }
            Err(NoToken::Refused(refusal)) => Err(self.refused(&refusal)),
            Err(NoToken::Failed(error)) => Err(error),
        }
    }

    /// What can be said without asking for a token.
    fn ready(&self, endpoint: &Endpoint, credentials: &Credentials) -> Option<Option<String>> {
        let access = self.access(endpoint).unwrap_or_default();
        match &access.challenge {
            None => Some(None),
            Some(Challenge::Basic) => Some(credentials.basic()),
            Some(Challenge::Bearer { .. }) => {
                let token = access.token.filter(Token::is_fresh)?;
                Some(Some(format!("Bearer {}", token.value)))
            }
        }
    }

    /// From now on tokens are also good for reading another repository of the registry.
    pub(crate) fn also_read(&self, path: &str) {
        let added = lock(&self.0.scopes).insert(format!("repository:{path}:pull"));
        if added {
            for access in lock(&self.0.access).values_mut() {
                access.token = None;
            }
        }
    }

    /// The endpoint that is written to: the registry itself, or who stands for it.
    pub(crate) async fn own_endpoint(&self) -> Result<Endpoint, Error> {
        let mut last = Error::new(Kind::Invalid, "no endpoint to ask");
        while let Some(endpoint) = self.endpoint(Right::Push)? {
            match self.know(&endpoint).await {
                Ok(()) => return Ok(endpoint),
                Err(error) => last = error,
            }
            self.give_up(&endpoint);
        }
        Err(last)
    }

    /// Path of the repository in its registry.
    pub(crate) fn path(&self) -> &str {
        self.0.reference.path()
    }

    /// One request as it is, without following redirects.
    pub(crate) async fn exchange(
        &self,
        endpoint: &Endpoint,
        request: Request<Bytes>,
    ) -> Result<Answer, Error> {
        let home = endpoint.api.parse::<Uri>().ok();
        let home = home.and_then(|uri| Origin::of(&uri).ok());
        let trust = match Origin::of(request.uri()).ok() == home {
            true => endpoint.trust.clone(),
            false => endpoint.trust.of_others(),
        };
        self.0.client.transport.send(request, &trust).await
    }

    /// What an answer that is no success says.
    pub(crate) async fn refusal(&self, answer: Answer) -> Refusal {
        self.0.client.refusal(answer).await
    }

    fn refused(&self, refusal: &Refusal) -> Error {
        let reference = &self.0.reference;
        refusal.of_pull(
            &reference.familiar_name(),
            &reference.clone().or_latest().familiar(),
        )
    }

    fn endpoint(&self, right: Right) -> Result<Option<Endpoint>, Error> {
        let endpoints = lock(&self.0.endpoints);
        let endpoints = endpoints.as_ref().map_err(Clone::clone)?;
        Ok(endpoints.iter().find(|it| right.is_of(it)).cloned())
    }

    fn give_up(&self, endpoint: &Endpoint) {
        if let Ok(endpoints) = lock(&self.0.endpoints).as_mut() {
            endpoints.retain(|other| other != endpoint);
        }
    }

    fn access(&self, endpoint: &Endpoint) -> Option<Access> {
        lock(&self.0.access).get(&endpoint.api).cloned()
    }

    fn set_access(&self, endpoint: &Endpoint, new: Access) {
        lock(&self.0.access).insert(endpoint.api.clone(), new);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A registry that may do without TLS and is being talked to without it is not asked for TLS first.
fn plain_first(client: &Client, mut endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    for at in 1..endpoints.len() {
        let (secure, plain) = (&endpoints[at - 1], &endpoints[at]);
        let same = secure.api.strip_prefix("https://") == plain.api.strip_prefix("http://");
        if same && secure.api.starts_with("https://") && client.transport.challenge(plain).is_some()
        {
            endpoints.swap(at - 1, at);
        }
    }
    endpoints
}
