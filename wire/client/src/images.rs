//! Image requests.

use dockerapi::{DeleteItem, HistoryItem, ImageInspect, ImageSummary, JsonMessage, SearchResult};
use http::{HeaderName, Method};

use crate::Result;
use crate::body::Body;
use crate::query::{Query, escape};
use crate::response::{JsonLines, Response};
use crate::transport::Client;

/// What to pull.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Repository without tag.
    pub name: String,
    /// Tag or digest; empty pulls all tags.
    pub tag: String,
    /// `os/arch/variant` or empty.
    pub platform: String,
    /// `X-Registry-Auth` or empty.
    pub auth: String,
}

/// What to push.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// Repository without tag.
    pub name: String,
    /// Tag; empty pushes all tags.
    pub tag: String,
    /// As JSON, or empty.
    pub platform: String,
    /// `X-Registry-Auth` or empty.
    pub auth: String,
}

impl PullOptions {
    /// Path with its query, and headers.
    fn request(&self, path: &str) -> (String, Vec<(HeaderName, String)>) {
        let query = Query::new()
            .with("fromImage", &self.name)
            .with_some("platform", self.platform.to_lowercase())
            .with_some("tag", &self.tag);
        let headers = Some(self.auth.clone())
            .filter(|auth| !auth.is_empty())
            .map(|auth| (HeaderName::from_static("x-registry-auth"), auth))
            .into_iter()
            .collect();
        (query.on(path), headers)
    }
}

/// Of every request here: no connection, a broken one, or the engine's error.
impl Client {
    /// `POST /images/create`: pulls, with its progress.
    pub async fn image_pull(&self, options: &PullOptions) -> Result<JsonLines<'_, JsonMessage>> {
        let (path, headers) = options.request("/images/create");
        let response = self
            .request_with(Method::POST, &path, &headers, Body::Empty)
            .await?;
        Ok(response.json_lines())
    }

    /// `GET /corten/images/plan` (docs/api.md): what such a pull would fetch.
    pub async fn image_plan(&self, options: &PullOptions) -> Result<serde_json::Value> {
        let (path, headers) = options.request("/corten/images/plan");
        let response = self
            .request_with(Method::GET, &path, &headers, Body::Empty)
            .await?;
        response.json().await
    }

    /// `POST /images/{name}/push`: pushes, with its progress.
    pub async fn image_push(&self, options: &PushOptions) -> Result<JsonLines<'_, JsonMessage>> {
        let query = Query::new()
            .with_some("platform", &options.platform)
            .with_some("tag", &options.tag);
        // dockerd asks for the header, be it empty.
        let auth = match options.auth.as_str() {
            "" => "e30=".to_owned(),
            auth => auth.to_owned(),
        };
        let headers = [(HeaderName::from_static("x-registry-auth"), auth)];
        let path = query.on(&format!("/images/{}/push", options.name));
        let response = self
            .request_with(Method::POST, &path, &headers, Body::Empty)
            .await?;
        Ok(response.json_lines())
    }

    /// `POST /images/create?fromSrc=`: makes an image of a file system.
    pub async fn image_import(
        &self,
        query: &Query,
        tar: Body,
    ) -> Result<JsonLines<'_, JsonMessage>> {
        let path = query.on("/images/create");
        let response = self.request(Method::POST, &path, tar).await?;
        Ok(response.json_lines())
    }

    /// `POST /images/load`.
    pub async fn image_load(&self, query: &Query, tar: Body) -> Result<Response<'_>> {
        self.request(Method::POST, &query.on("/images/load"), tar)
            .await
    }

    /// `GET /images/get`: a tar of the images named by `names` parameters.
    pub async fn image_save(&self, query: &Query) -> Result<Response<'_>> {
        self.get(&query.on("/images/get")).await
    }

    /// `GET /images/json`.
    pub async fn image_list(&self, query: &Query) -> Result<Vec<ImageSummary>> {
        self.get(&query.on("/images/json")).await?.json().await
    }

    /// `GET /images/{name}/json`.
    pub async fn image_inspect(&self, name: &str) -> Result<ImageInspect> {
        self.get(&format!("/images/{}/json", escape(name)))
            .await?
            .json()
            .await
    }

    /// The same as the engine wrote it.
    pub async fn image_inspect_raw(&self, name: &str, query: &Query) -> Result<Vec<u8>> {
        let path = query.on(&format!("/images/{}/json", escape(name)));
        self.get(&path).await?.bytes().await
    }

    /// `GET /images/{name}/history`.
    pub async fn image_history(&self, name: &str, query: &Query) -> Result<Vec<HistoryItem>> {
        let path = query.on(&format!("/images/{}/history", escape(name)));
        self.get(&path).await?.json().await
    }

    /// `GET /images/search`. `auth`: `X-Registry-Auth`.
    pub async fn image_search(&self, query: &Query, auth: String) -> Result<Vec<SearchResult>> {
        let headers = [(HeaderName::from_static("x-registry-auth"), auth)];
        let path = query.on("/images/search");
        let response = self
            .request_with(Method::GET, &path, &headers, Body::Empty)
            .await?;
        response.json().await
    }

    /// `POST /images/{name}/tag`.
    pub async fn image_tag(&self, source: &str, repo: &str, tag: &str) -> Result<()> {
        let query = Query::new().with("repo", repo).with_some("tag", tag);
        let path = query.on(&format!("/images/{}/tag", escape(source)));
        self.request(Method::POST, &path, Body::Empty)
            .await?
            .drain()
            .await
    }

    /// A request of Corten's own (docs/api.md) below `/corten/images/`, answered by JSON.
    pub async fn image_store(&self, method: Method, path: &str) -> Result<serde_json::Value> {
        let path = format!("/corten/images/{path}");
        self.request(method, &path, Body::Empty).await?.json().await
    }

    /// `DELETE /images/{name}`.
    pub async fn image_remove(&self, name: &str, query: &Query) -> Result<Vec<DeleteItem>> {
        let path = query.on(&format!("/images/{}", escape(name)));
        self.request(Method::DELETE, &path, Body::Empty)
            .await?
            .json()
            .await
    }
}
