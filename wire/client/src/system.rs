//! Requests about the engine itself.

use dockerapi::{AuthConfig, Event, Info, Version};
use http::Method;

use crate::Result;
use crate::body::Body;
use crate::query::Query;
use crate::response::JsonLines;
use crate::transport::Client;

/// Of every request here: no connection, a broken one, or the engine's error.
impl Client {
    /// `HEAD /_ping`: whether an engine answers.
    pub async fn ping(&self) -> Result<()> {
        let response = self.send(&Method::HEAD, "/_ping", &[], Body::Empty).await?;
        response.into_result().await?.drain().await
    }

    /// `GET /version`.
    pub async fn version(&self) -> Result<Version> {
        self.get("/version").await?.json().await
    }

    /// `GET /info`.
    pub async fn info(&self) -> Result<Info> {
        self.get("/info").await?.json().await
    }

    /// `GET /events`.
    pub async fn events(&self, query: &Query) -> Result<JsonLines<'_, Event>> {
        Ok(self.get(&query.on("/events")).await?.json_lines())
    }

    /// `POST /auth`: status text and identity token.
    pub async fn auth(&self, auth: &AuthConfig) -> Result<(String, String)> {
        #[derive(Default, serde::Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct Answer {
            status: String,
            identity_token: String,
        }
        let response = self
            .request(Method::POST, "/auth", Body::json(auth)?)
            .await?;
        let answer: Answer = response.json().await?;
        Ok((answer.status, answer.identity_token))
    }
}
