//! Routes about volumes.

use dockerapi::VolumeCreate;
use engine::{Error, Result};
use http::StatusCode;

use crate::Api;
use crate::answer::{self, Answer};
use crate::call::Call;

/// moby's refusal of what only a swarm has.
const NO_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker \
                        swarm join\" to connect this node to swarm and try again.";

/// `GET /volumes`.
pub(crate) fn list(api: &Api, call: &Call) -> Result<Answer> {
    answer::ok(&api.0.engine.volume_list(&call.query.filters()?)?)
}

/// `POST /volumes/create`.
pub(crate) async fn create(api: &Api, call: Call) -> Result<Answer> {
    let version = call.version;
    let body: VolumeCreate = call.json().await?;
    if body.cluster_volume_spec.is_some() && !version.before(42) {
        return Err(Error::unavailable(NO_SWARM));
    }
    answer::json(
        StatusCode::CREATED,
        &api.0.engine.volume_create(body).await?,
    )
}

/// `GET /volumes/{name}`.
pub(crate) fn inspect(api: &Api, name: &str) -> Result<Answer> {
    answer::ok(&api.0.engine.volume_inspect(name)?)
}

/// `DELETE /volumes/{name}`.
pub(crate) async fn remove(api: &Api, call: &Call, name: &str) -> Result<Answer> {
    api.0
        .engine
        .volume_remove(name, call.query.flag("force"))
        .await?;
    answer::no_content()
}

/// `POST /volumes/prune`.
pub(crate) async fn prune(api: &Api, call: &Call) -> Result<Answer> {
    let mut filters = call.query.filters()?;
    // Named volumes were pruned as well.
    if call.version.before(42) {
        filters.0.insert("all".into(), vec!["true".into()]);
    }
    answer::ok(&api.0.engine.volume_prune(&filters).await?)
}
