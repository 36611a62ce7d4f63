//! Exec requests.

use dockerapi::{ExecCreate, ExecInspect, ExecStart, IdResponse};
use http::Method;

use crate::Result;
use crate::body::Body;
use crate::hijack::Hijacked;
use crate::query::{Query, escape};
use crate::transport::Client;

/// Of every request here: no connection, a broken one, or the engine's error.
impl Client {
    /// `POST /containers/{id}/exec`: the ID of the new exec.
    pub async fn exec_create(&self, container: &str, body: &ExecCreate) -> Result<String> {
        let path = format!("/containers/{}/exec", escape(container));
        let response = self.request(Method::POST, &path, Body::json(body)?).await?;
        Ok(response.json::<IdResponse>().await?.id)
    }

    /// `POST /exec/{id}/start`, detached.
    pub async fn exec_start(&self, id: &str, body: &ExecStart) -> Result<()> {
        let path = format!("/exec/{}/start", escape(id));
        self.request(Method::POST, &path, Body::json(body)?)
            .await?
            .drain()
            .await
    }

    /// `POST /exec/{id}/start`, attached.
    pub async fn exec_attach(&self, id: &str, body: &ExecStart) -> Result<Hijacked> {
        let path = format!("/exec/{}/start", escape(id));
        self.hijack(&path, Body::json(body)?).await
    }

    /// `GET /exec/{id}/json`.
    pub async fn exec_inspect(&self, id: &str) -> Result<ExecInspect> {
        self.get(&format!("/exec/{}/json", escape(id)))
            .await?
            .json()
            .await
    }

    /// `POST /exec/{id}/resize`, in characters.
    pub async fn exec_resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        let query = Query::new()
            .with("h", height.to_string())
            .with("w", width.to_string());
        let path = query.on(&format!("/exec/{}/resize", escape(id)));
        self.request(Method::POST, &path, Body::Empty)
            .await?
            .drain()
            .await
    }
}
