//! Routes that carry tars of a container's files.

use base64::Engine as _;
use dockerapi::PathStat;
use engine::{ArchivePut, Error, Result};
use http::{HeaderValue, StatusCode};

use crate::Api;
use crate::answer::{self, Answer};
use crate::body::ResponseBody;
use crate::call::Call;

const TAR: &str = "application/x-tar";

/// `GET /containers/{id}/export`.
pub(crate) async fn export(api: &Api, id: &str) -> Result<Answer> {
    let stream = api.0.engine.container_export(id).await?;
    answer::bytes("application/octet-stream", ResponseBody::channel(stream))
}

/// `HEAD /containers/{id}/archive`.
pub(crate) async fn stat(api: &Api, call: &Call, id: &str) -> Result<Answer> {
    let stat = api.0.engine.container_archive_stat(id, path(call)?).await?;
    with_stat(answer::status(StatusCode::OK)?, &stat)
}

/// `GET /containers/{id}/archive`.
pub(crate) async fn get(api: &Api, call: &Call, id: &str) -> Result<Answer> {
    let (stat, stream) = api.0.engine.container_archive_get(id, path(call)?).await?;
    with_stat(answer::bytes(TAR, ResponseBody::channel(stream))?, &stat)
}

/// `PUT /containers/{id}/archive`.
pub(crate) async fn put(api: &Api, call: Call, id: &str) -> Result<Answer> {
    let options = ArchivePut {
        path: path(&call)?.to_owned(),
        no_overwrite_dir_non_dir: call.query.flag("noOverwriteDirNonDir"),
        copy_uid_gid: call.query.flag("copyUIDGID"),
    };
    api.0
        .engine
        .container_archive_put(id, options, call.body.stream())
        .await?;
    answer::status(StatusCode::OK)
}

fn path(call: &Call) -> Result<&str> {
    call.query
        .text("path")
        .ok_or_else(|| Error::invalid("bad parameter: \"path\" cannot be empty"))
}

fn with_stat(mut answer: Answer, stat: &PathStat) -> Result<Answer> {
    let unencodable = |error: &dyn std::fmt::Display| {
        Error::system(format!("cannot encode what the path is: {error}"))
    };
    let text = serde_json::to_vec(stat).map_err(|error| unencodable(&error))?;
    let text = base64::engine::general_purpose::STANDARD.encode(text);
    let value = HeaderValue::from_str(&text).map_err(|error| unencodable(&error))?;
    if let Answer::Response(response) = &mut answer {
        response
            .headers_mut()
            .insert("x-docker-container-path-stat", value);
    }
    Ok(answer)
}
