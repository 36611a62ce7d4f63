//! `POST /commit`.

use dockerapi::{ContainerConfig, IdResponse};
use engine::{CommitOptions, Result};
use http::StatusCode;

use crate::Api;
use crate::answer::{self, Answer};
use crate::call::Call;

/// Makes an image of a container.
pub(crate) async fn commit(api: &Api, call: Call) -> Result<Answer> {
    let query = &call.query;
    let text = |key| query.get(key).unwrap_or_default().to_owned();
    let mut options = CommitOptions {
        container: text("container"),
        repo: text("repo"),
        tag: text("tag"),
        author: text("author"),
        comment: text("comment"),
        pause: query.flag_or("pause", true),
        changes: query.all("changes"),
        config: None,
    };
    // `null` and `{}` are what clients send that have none.
    let config: Option<ContainerConfig> = call.json_or_default().await?;
    options.config = config.filter(|config| *config != ContainerConfig::default());
    let id = api.0.engine.container_commit(options).await?;
    answer::json(StatusCode::CREATED, &IdResponse { id })
}
