//! Container requests.

use dockerapi::{
    ContainerInspect, ContainerSummary, CreateBody, CreateResponse, FilesystemChange, PathStat,
    PruneReport, TopResponse, UpdateBody, UpdateResponse, WaitResponse,
};
use http::Method;

use crate::body::Body;
use crate::hijack::Hijacked;
use crate::query::{Query, escape};
use crate::response::Response;
use crate::transport::Client;
use crate::{Error, Result};

/// Which streams to attach, and how.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Input.
    pub stdin: bool,
    /// Output.
    pub stdout: bool,
    /// Errors.
    pub stderr: bool,
    /// What was written before comes first.
    pub logs: bool,
    /// Keys that detach; empty is the engine's default.
    pub detach_keys: String,
}

/// What part of a container's log.
#[derive(Debug, Clone, Default)]
pub struct LogsOptions {
    /// Wait for more.
    pub follow: bool,
    /// Attributes before every line.
    pub details: bool,
    /// Time before every line.
    pub timestamps: bool,
    /// From here on: Unix time with fraction, or empty.
    pub since: String,
    /// Up to here.
    pub until: String,
    /// Last lines only: a number, or `all`.
    pub tail: String,
}

/// What `wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// Returns at once when it does not run.
    NotRunning,
    /// The next exit, also of a container that is not started yet.
    NextExit,
    /// The removal.
    Removed,
}

impl WaitCondition {
    fn name(self) -> &'static str {
        match self {
            Self::NotRunning => "not-running",
            Self::NextExit => "next-exit",
            Self::Removed => "removed",
        }
    }
}

/// Of every request here: no connection, a broken one, or the engine's error.
impl Client {
    /// `POST /containers/create`. `platform` may be empty.
    pub async fn container_create(
        &self,
        body: &CreateBody,
        name: &str,
        platform: &str,
    ) -> Result<CreateResponse> {
        let query = Query::new()
            .with_some("name", name)
            .with_some("platform", platform);
        let path = query.on("/containers/create");
        self.request(Method::POST, &path, Body::json(body)?)
            .await?
            .json()
            .await
    }

    /// `GET /containers/json`; `filters` is the JSON form or empty.
    pub async fn container_list(&self, query: &Query) -> Result<Vec<ContainerSummary>> {
        self.get(&query.on("/containers/json")).await?.json().await
    }

    /// `GET /containers/{id}/json`.
    pub async fn container_inspect(&self, id: &str) -> Result<ContainerInspect> {
        self.get(&format!("/containers/{}/json", escape(id)))
            .await?
            .json()
            .await
    }

    /// The same as the engine wrote it.
    pub async fn container_inspect_raw(&self, id: &str, size: bool) -> Result<Vec<u8>> {
        let query = Query::new().with_flag("size", size);
        let path = query.on(&format!("/containers/{}/json", escape(id)));
        self.get(&path).await?.bytes().await
    }

    /// `POST /containers/{id}/start`.
    pub async fn container_start(&self, id: &str, query: &Query) -> Result<()> {
        self.act(id, "start", query).await
    }

    /// `POST /containers/{id}/{verb}` for verbs that answer nothing: `stop`, `kill`, `pause`, …
    pub async fn act(&self, id: &str, verb: &str, query: &Query) -> Result<()> {
        let path = query.on(&format!("/containers/{}/{verb}", escape(id)));
        self.request(Method::POST, &path, Body::Empty)
            .await?
            .drain()
            .await
    }

    /// `POST /containers/{id}/resize`, in characters.
    pub async fn container_resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        let query = Query::new()
            .with("h", height.to_string())
            .with("w", width.to_string());
        self.act(id, "resize", &query).await
    }

    /// `POST /containers/{id}/wait`: the engine answers its head at once, so that the wait is
    /// known to be registered before the container starts; the status comes with the body.
    pub async fn container_wait(&self, id: &str, condition: WaitCondition) -> Result<Response<'_>> {
        let query = Query::new().with("condition", condition.name());
        let path = query.on(&format!("/containers/{}/wait", escape(id)));
        self.request(Method::POST, &path, Body::Empty).await
    }

    /// `POST /containers/{id}/wait` to its end.
    pub async fn container_exit(&self, id: &str, condition: WaitCondition) -> Result<WaitResponse> {
        self.container_wait(id, condition).await?.json().await
    }

    /// `DELETE /containers/{id}`.
    pub async fn container_remove(&self, id: &str, query: &Query) -> Result<()> {
        let path = query.on(&format!("/containers/{}", escape(id)));
        self.request(Method::DELETE, &path, Body::Empty)
            .await?
            .drain()
            .await
    }

    /// `POST /containers/{id}/attach`.
    pub async fn container_attach(&self, id: &str, options: &AttachOptions) -> Result<Hijacked> {
        let query = Query::new()
            .with_some("detachKeys", &options.detach_keys)
            .with_flag("logs", options.logs)
            .with_flag("stderr", options.stderr)
            .with_flag("stdin", options.stdin)
            .with_flag("stdout", options.stdout)
            .with("stream", "1");
        let path = query.on(&format!("/containers/{}/attach", escape(id)));
        self.hijack(&path, Body::Empty).await
    }

    /// `GET /containers/{id}/logs`: framed unless the container has a terminal.
    pub async fn container_logs(&self, id: &str, options: &LogsOptions) -> Result<Response<'_>> {
        let query = Query::new()
            .with_flag("details", options.details)
            .with_flag("follow", options.follow)
            .with_some("since", &options.since)
            .with("stderr", "1")
            .with("stdout", "1")
            .with_some("tail", &options.tail)
            .with_flag("timestamps", options.timestamps)
            .with_some("until", &options.until);
        let path = query.on(&format!("/containers/{}/logs", escape(id)));
        self.get(&path).await
    }

    /// `GET /containers/{id}/top`.
    pub async fn container_top(&self, id: &str, ps_args: &str) -> Result<TopResponse> {
        let query = Query::new().with_some("ps_args", ps_args);
        let path = query.on(&format!("/containers/{}/top", escape(id)));
        self.get(&path).await?.json().await
    }

    /// `GET /containers/{id}/stats`, one value or a stream of them.
    pub async fn container_stats(&self, id: &str, stream: bool) -> Result<Response<'_>> {
        let query = Query::new().with("stream", if stream { "1" } else { "0" });
        let path = query.on(&format!("/containers/{}/stats", escape(id)));
        self.get(&path).await
    }

    /// `GET /containers/{id}/changes`; the engine answers null for none.
    pub async fn container_changes(&self, id: &str) -> Result<Vec<FilesystemChange>> {
        let path = format!("/containers/{}/changes", escape(id));
        let changes: Option<Vec<FilesystemChange>> = self.get(&path).await?.json().await?;
        Ok(changes.unwrap_or_default())
    }

    /// `POST /containers/{id}/update`.
    pub async fn container_update(&self, id: &str, body: &UpdateBody) -> Result<UpdateResponse> {
        let path = format!("/containers/{}/update", escape(id));
        self.request(Method::POST, &path, Body::json(body)?)
            .await?
            .json()
            .await
    }

    /// `POST /containers/{id}/rename`.
    pub async fn container_rename(&self, id: &str, name: &str) -> Result<()> {
        self.act(id, "rename", &Query::new().with("name", name))
            .await
    }

    /// `HEAD /containers/{id}/archive`: what `path` inside the container is.
    pub async fn path_stat(&self, id: &str, path: &str) -> Result<PathStat> {
        let query = Query::new().with("path", path);
        let target = query.on(&format!("/containers/{}/archive", escape(id)));
        // HEAD errors have no body; the same GET would stream the file.
        let response = self.request(Method::HEAD, &target, Body::Empty).await?;
        let stat = decode_stat(&response)?;
        response.drain().await?;
        Ok(stat)
    }

    /// `GET /containers/{id}/archive`: a tar of `path`, and what it is.
    pub async fn archive_get(&self, id: &str, path: &str) -> Result<(PathStat, Response<'_>)> {
        let query = Query::new().with("path", path);
        let target = query.on(&format!("/containers/{}/archive", escape(id)));
        let response = self.get(&target).await?;
        let stat = decode_stat(&response)?;
        Ok((stat, response))
    }

    /// `PUT /containers/{id}/archive`: unpacks a tar into the directory `path`.
    pub async fn archive_put(&self, id: &str, query: &Query, tar: Body) -> Result<()> {
        let target = query.on(&format!("/containers/{}/archive", escape(id)));
        self.request(Method::PUT, &target, tar).await?.drain().await
    }

    /// `GET /containers/{id}/export`: a tar of its files.
    pub async fn container_export(&self, id: &str) -> Result<Response<'_>> {
        self.get(&format!("/containers/{}/export", escape(id)))
            .await
    }

    /// `POST /containers/prune`.
    pub async fn container_prune(&self, filters: &str) -> Result<PruneReport> {
        let path = Query::new()
            .with_some("filters", filters)
            .on("/containers/prune");
        self.request(Method::POST, &path, Body::Empty)
            .await?
            .json()
            .await
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Result<Response<'_>> {
        self.request(Method::GET, path, Body::Empty).await
    }
}

fn decode_stat(response: &Response<'_>) -> Result<PathStat> {
    use base64::Engine as _;
    let text = response
        .header("x-docker-container-path-stat")
        .unwrap_or_default();
    let json = base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|error| {
            Error::Http(format!(
                "unable to decode container path stat header: {error}"
            ))
        })?;
    Ok(serde_json::from_slice(&json)?)
}
