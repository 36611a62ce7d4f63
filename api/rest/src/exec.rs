//! Routes about exec instances.

use dockerapi::{ExecCreate, ExecStart, IdResponse};
use engine::Result;
use http::StatusCode;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::hijack::Hijack;
use crate::{Api, containers};

/// `POST /containers/{id}/exec`.
pub(crate) async fn create(api: &Api, call: Call, id: &str) -> Result<Answer> {
    let version = call.version;
    let mut config: ExecCreate = call.json().await?;
    if version.before(42) {
        config.console_size = None;
    }
    let id = api.0.engine.exec_create(id, config).await?;
    answer::json(StatusCode::CREATED, &IdResponse { id })
}

/// `POST /exec/{id}/start`.
pub(crate) async fn start(api: &Api, call: Call, id: &str) -> Result<Answer> {
    let version = call.version;
    let mut options: ExecStart = call.json_or_default().await?;
    if version.before(42) || !options.tty {
        // Only a terminal has a size.
        options.console_size = None;
    }
    if options.detach {
        api.0.engine.exec_start_detached(id, &options).await?;
        return answer::status(StatusCode::OK);
    }
    let session = api.0.engine.exec_prepare(id, &options)?;
    Ok(Answer::Hijack(Hijack::session(session, version)))
}

/// `POST /exec/{id}/resize`.
pub(crate) async fn resize(api: &Api, call: &Call, id: &str) -> Result<Answer> {
    let (height, width) = containers::size(call)?;
    api.0.engine.exec_resize(id, height, width).await?;
    answer::status(StatusCode::OK)
}

/// `GET /exec/{id}/json`.
pub(crate) fn inspect(api: &Api, id: &str) -> Result<Answer> {
    answer::ok(&api.0.engine.exec_inspect(id)?)
}
