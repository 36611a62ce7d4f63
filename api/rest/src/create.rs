//! `POST /containers/create`.

use dockerapi::CreateBody;
use engine::{Error, Result};
use http::StatusCode;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::{Api, compat};

/// Creates a container.
pub(crate) async fn create(api: &Api, call: Call) -> Result<Answer> {
    let name = call.query.text("name").map(str::to_owned);
    let platform = call.query.text("platform").map(str::to_owned);
    let platform = platform.filter(|_| !call.version.before(41));
    let version = call.version;
    if call.body.is_empty() {
        return Err(Error::invalid(
            "invalid JSON: got EOF while reading request body",
        ));
    }
    let body: Option<CreateBody> = call.json().await?;
    let mut body = body
        .ok_or_else(|| Error::invalid("config cannot be empty in order to create a container"))?;
    let warnings = compat::create_body(&mut body, version, || {
        api.0.engine.info().cgroup_version == "1"
    })?;
    let made = api
        .0
        .engine
        .container_create(name.as_deref(), platform.as_deref(), body)
        .await;
    let mut made = made?;
    made.warnings.extend(warnings);
    answer::json(StatusCode::CREATED, &made)
}
