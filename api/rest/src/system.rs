//! Routes about the engine itself.

use dockerapi::AuthConfig;
use engine::{DiskUsageOptions, Error, Result};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, PRAGMA};
use serde::Serialize;

use crate::answer::{self, Answer};
use crate::body::ResponseBody;
use crate::call::Call;
use crate::metrics::Action;
use crate::{Api, compat};

/// `GET|HEAD /_ping`.
pub(crate) fn ping() -> Result<Answer> {
    let body = ResponseBody::Full(Some("OK".into()));
    let mut response = answer::typed(http::StatusCode::OK, "text/plain; charset=utf-8", body);
    let headers = response.headers_mut();
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate"),
    );
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    Ok(Answer::Response(response))
}

/// `GET /version`.
pub(crate) fn version(api: &Api) -> Result<Answer> {
    let timing = api.timing(Action::SystemVersion);
    let mut version = api.0.engine.version();
    drop(timing);
    let oldest = api.0.min_version.to_string();
    for component in &mut version.components {
        if let Some(told) = component.details.get_mut("MinAPIVersion") {
            told.clone_from(&oldest);
        }
    }
    version.min_api_version = oldest;
    answer::ok(&version)
}

/// `GET /info`.
pub(crate) fn info(api: &Api, call: &Call) -> Result<Answer> {
    let timing = api.timing(Action::SystemInfo);
    let mut info = api.0.engine.info();
    drop(timing);
    let plugins = api.authorized_by();
    info.plugins.authorization = (!plugins.is_empty()).then_some(plugins);
    answer::ok(&compat::info(info, call.version)?)
}

/// `POST /auth`.
pub(crate) async fn auth(api: &Api, call: Call) -> Result<Answer> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct LoggedIn {
        status: String,
        identity_token: String,
    }
    let auth: AuthConfig = call.json().await?;
    let (status, identity_token) = api.0.engine.auth(auth).await?;
    answer::ok(&LoggedIn {
        status,
        identity_token,
    })
}

/// `GET /system/df`.
pub(crate) async fn disk_usage(api: &Api, call: &Call) -> Result<Answer> {
    let kinds = match call.version.before(42) {
        true => Vec::new(),
        false => call.query.all("type"),
    };
    let everything = kinds.is_empty();
    let mut options = DiskUsageOptions {
        images: everything,
        containers: everything,
        volumes: everything,
        build_cache: everything,
    };
    for kind in kinds {
        match kind.as_str() {
            "image" => options.images = true,
            "container" => options.containers = true,
            "volume" => options.volumes = true,
            "build-cache" => options.build_cache = true,
            _ => return Err(Error::invalid(format!("unknown object type: {kind}"))),
        }
    }
    let usage = api.0.engine.disk_usage(options).await?;
    answer::ok(&compat::disk_usage(usage, call.version))
}

/// `GET /distribution/{name}/json`.
pub(crate) async fn distribution(api: &Api, call: &Call, name: &str) -> Result<Answer> {
    let auth = call.registry_auth();
    answer::ok(&api.0.engine.distribution_inspect(name, auth).await?)
}
