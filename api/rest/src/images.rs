//! Routes about images.

use dockerapi::JsonMessage;
use engine::{Error, ImageRemoveOptions, ImportOptions, Lines, Result};
use futures_util::StreamExt as _;
use http::StatusCode;

use crate::answer::{self, Answer};
use crate::body::{ResponseBody, receive};
use crate::call::Call;
use crate::{Api, compat};

/// `GET /images/json`.
pub(crate) fn list(api: &Api, call: &Call) -> Result<Answer> {
    let all = call.query.flag("all");
    let shared = call.query.flag("shared-size") && !call.version.before(42);
    let list = api
        .0
        .engine
        .image_list(all, &call.query.filters()?, shared)?;
    answer::ok(&compat::image_list(list, call.version))
}

/// `POST /images/create`: a pull or an import.
pub(crate) async fn create(api: &Api, call: Call) -> Result<Answer> {
    let query = &call.query;
    let platform = query
        .text("platform")
        .filter(|_| !call.version.before(32))
        .map(str::to_owned);
    let tag = query.get("tag").unwrap_or_default().to_owned();
    if let Some(image) = query.text("fromImage") {
        let auth = call.registry_auth();
        let lines = api
            .0
            .engine
            .image_pull(image, &tag, platform.as_deref(), auth)?;
        return progress(lines).await;
    }
    let Some(source) = query.text("fromSrc") else {
        return Err(Error::invalid("fromImage or fromSrc must be given"));
    };
    let reference = query.text("repo").map(|repo| match tag.is_empty() {
        true => repo.to_owned(),
        false => format!("{repo}:{tag}"),
    });
    let options = ImportOptions {
        reference,
        message: match query.get("message").unwrap_or_default() {
            "" => format!("Imported from {source}"),
            message => message.to_owned(),
        },
        changes: query.all("changes"),
        platform,
    };
    let engine = &api.0.engine;
    match source {
        "-" => progress(engine.image_import(call.body.stream(), options)).await,
        url => progress(engine.image_import_url(url, options).await?).await,
    }
}

/// `POST /images/prune`.
pub(crate) async fn prune(api: &Api, call: &Call) -> Result<Answer> {
    answer::ok(&api.0.engine.image_prune(&call.query.filters()?).await?)
}

/// `POST /images/load`.
pub(crate) fn load(api: &Api, call: Call) -> Result<Answer> {
    if call.query.text("platform").is_some() {
        return Err(Error::not_implemented(
            "loading one platform is not supported yet: platform",
        ));
    }
    let quiet = call.query.flag_or("quiet", true);
    answer::lines(receive(api.0.engine.image_load(call.body.stream(), quiet)))
}

/// A failure before anything was done has a status of its own; later ones are lines.
async fn progress(mut lines: Lines<JsonMessage>) -> Result<Answer> {
    let Some(first) = lines.recv().await else {
        return answer::status(StatusCode::OK);
    };
    if let Some(error) = &first.error_detail {
        return Err(compat::early_failure(error));
    }
    answer::lines(futures_util::stream::iter([first]).chain(receive(lines)))
}

/// `GET /images/get` and `GET /images/{name}/get`.
pub(crate) fn save(api: &Api, call: &Call, names: &[String]) -> Result<Answer> {
    if call.query.text("platform").is_some() && !call.version.before(48) {
        return Err(Error::not_implemented(
            "saving one platform is not supported yet: platform",
        ));
    }
    if names.iter().all(String::is_empty) {
        return Err(Error::invalid("no image names given"));
    }
    let stream = api.0.engine.image_save(names)?;
    answer::bytes("application/x-tar", ResponseBody::channel(stream))
}

/// `POST /images/{name}/push`.
pub(crate) async fn push(api: &Api, call: &Call, name: &str) -> Result<Answer> {
    let platform = call.query.text("platform");
    let platform = platform
        .filter(|_| !call.version.before(46))
        .map(platform_of)
        .transpose()?;
    let tag = call.query.get("tag").unwrap_or_default();
    let auth = call.registry_auth();
    let lines = api.0.engine.image_push(name, tag, platform, auth)?;
    progress(lines).await
}

/// A platform as clients send it: JSON, or from some `os/architecture`.
fn platform_of(text: &str) -> Result<oci::Platform> {
    match text.starts_with('{') {
        true => serde_json::from_str(text)
            .map_err(|error| Error::invalid(format!("failed to parse platform: {error}"))),
        false => text
            .parse()
            .map_err(|error: oci::platform::InvalidPlatform| Error::invalid(error.to_string())),
    }
}

/// `GET /images/search`.
pub(crate) async fn search(api: &Api, call: &Call) -> Result<Answer> {
    let invalid = || Error::invalid("invalid limit specified");
    let limit: i64 = match call.query.text("limit") {
        None => 0,
        Some(text) => text.parse().map_err(|_| invalid())?,
    };
    if limit < 0 {
        return Err(invalid());
    }
    let term = call.query.get("term").unwrap_or_default();
    let (filters, auth) = (call.query.filters()?, call.registry_auth());
    let found = api
        .0
        .engine
        .image_search(term, limit, &filters, auth)
        .await?;
    answer::ok(&found)
}

/// `GET /images/{name}/json`.
pub(crate) fn inspect(api: &Api, call: &Call, name: &str) -> Result<Answer> {
    answer::ok(&compat::image(
        api.0.engine.image_inspect(name)?,
        call.version,
    )?)
}

/// `GET /images/{name}/history`.
pub(crate) fn history(api: &Api, name: &str) -> Result<Answer> {
    answer::ok(&api.0.engine.image_history(name)?)
}

/// `POST /images/{name}/tag`.
pub(crate) async fn tag(api: &Api, call: &Call, name: &str) -> Result<Answer> {
    let value = |key| call.query.get(key).unwrap_or_default();
    api.0
        .engine
        .image_tag(name, value("repo"), value("tag"))
        .await?;
    answer::status(StatusCode::CREATED)
}

/// `DELETE /images/{name}`.
pub(crate) async fn remove(api: &Api, call: &Call, name: &str) -> Result<Answer> {
    if call.query.text("platforms").is_some() && !call.version.before(50) {
        return Err(Error::not_implemented(
            "removing single platforms is not supported yet: platforms",
        ));
    }
    let options = ImageRemoveOptions {
        force: call.query.flag("force"),
        no_prune: call.query.flag("noprune"),
    };
    answer::ok(&api.0.engine.image_remove(name, options).await?)
}
