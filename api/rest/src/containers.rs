//! Routes about containers whose answers are short.

use dockerapi::UpdateBody;
use engine::{Error, ListOptions, RemoveOptions, Result};

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::{Api, compat};

/// `GET /containers/json`.
pub(crate) async fn list(api: &Api, call: &Call) -> Result<Answer> {
    let query = &call.query;
    let limit = query.number::<i64>("limit")?;
    let options = ListOptions {
        all: query.flag("all"),
        limit: limit
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n > 0),
        size: query.flag("size"),
        filters: query.filters()?,
    };
    let list = api.0.engine.container_list(options).await?;
    answer::rows(list.map(|row| compat::container_row(row, call.version)))
}

/// `POST /containers/prune`.
pub(crate) async fn prune(api: &Api, call: &Call) -> Result<Answer> {
    answer::ok(&api.0.engine.container_prune(call.query.filters()?).await?)
}

/// `DELETE /containers/{id}`.
pub(crate) async fn remove(api: &Api, call: &Call, id: &str) -> Result<Answer> {
    if call.query.flag("link") {
        api.0.engine.container_unlink(id).await?;
        return answer::no_content();
    }
    let options = RemoveOptions {
        force: call.query.flag("force"),
        volumes: call.query.flag("v"),
    };
    api.0.engine.container_remove(id, options).await?;
    answer::no_content()
}

/// `GET /containers/{id}/json`.
pub(crate) fn inspect(api: &Api, call: &Call, id: &str) -> Result<Answer> {
    let found = api
        .0
        .engine
        .container_inspect(id, call.query.flag("size"))?;
    answer::ok(&compat::container(found, call.version)?)
}

/// `GET /containers/{id}/top`.
pub(crate) async fn top(api: &Api, call: &Call, id: &str) -> Result<Answer> {
    answer::ok(
        &api.0
            .engine
            .container_top(id, call.query.text("ps_args"))
            .await?,
    )
}

/// `GET /containers/{id}/changes`.
pub(crate) async fn changes(api: &Api, id: &str) -> Result<Answer> {
    answer::ok(&api.0.engine.container_changes(id).await?)
}

/// `POST /containers/{id}/resize`.
pub(crate) async fn resize(api: &Api, call: &Call, id: &str) -> Result<Answer> {
    let (height, width) = size(call)?;
    api.0.engine.container_resize(id, height, width).await?;
    answer::status(http::StatusCode::OK)
}

/// `h` and `w` of a terminal.
///
/// # Errors
/// Invalid parameter.
pub(crate) fn size(call: &Call) -> Result<(u16, u16)> {
    let number = |key: &str, what: &str| {
        let text = call.query.get(key).unwrap_or_default();
        text.parse()
            .map_err(|_| Error::invalid(format!("invalid resize {what} {text:?}: invalid syntax")))
    };
    Ok((number("h", "height")?, number("w", "width")?))
}

/// `POST /containers/{id}/start`.
pub(crate) async fn start(api: &Api, call: &Call, id: &str) -> Result<Answer> {
    // An empty object is what old clients send; more was removed from the API.
    if call.body.length().is_none_or(|length| length > 7) {
        return Err(Error::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and \
             removed in v1.24",
        ));
    }
    if call.query.text("checkpoint").is_some() {
        return Err(Error::not_implemented(
            "checkpoints are not supported yet: checkpoint",
        ));
    }
    answer::changed(api.0.engine.container_start(id).await?)
}

/// `POST /containers/{id}/stop`.
pub(crate) async fn stop(api: &Api, call: &Call, id: &str) -> Result<Answer> {
    let (signal, timeout) = stopping(call)?;
    answer::changed(api.0.engine.container_stop(id, signal, timeout).await?)
}

/// `POST /containers/{id}/restart`.
pub(crate) async fn restart(api: &Api, call: &Call, id: &str) -> Result<Answer> {
    let (signal, timeout) = stopping(call)?;
    api.0.engine.container_restart(id, signal, timeout).await?;
    answer::no_content()
}

fn stopping(call: &Call) -> Result<(Option<&str>, Option<i64>)> {
    let signal = call
        .query
        .text("signal")
        .filter(|_| !call.version.before(42));
    Ok((signal, call.query.number("t")?))
}

/// `POST /containers/{id}/kill`.
pub(crate) async fn kill(api: &Api, call: &Call, id: &str) -> Result<Answer> {
    api.0
        .engine
        .container_kill(id, call.query.text("signal"))
        .await?;
    answer::no_content()
}

/// `POST /containers/{id}/update`.
pub(crate) async fn update(api: &Api, call: Call, id: &str) -> Result<Answer> {
    let version = call.version;
    let mut body: UpdateBody = call.json().await?;
    compat::update_body(&mut body, version);
    answer::ok(&api.0.engine.container_update(id, body).await?)
}

/// `POST /containers/{id}/rename`.
pub(crate) async fn rename(api: &Api, call: &Call, id: &str) -> Result<Answer> {
    api.0
        .engine
        .container_rename(id, call.query.get("name").unwrap_or_default())
        .await?;
    answer::no_content()
}

/// `POST /containers/{id}/pause`.
pub(crate) async fn pause(api: &Api, id: &str) -> Result<Answer> {
    api.0.engine.container_pause(id).await?;
    answer::no_content()
}

/// `POST /containers/{id}/unpause`.
pub(crate) async fn unpause(api: &Api, id: &str) -> Result<Answer> {
    api.0.engine.container_unpause(id).await?;
    answer::no_content()
}
