//! Routes about images.

use dockerapi::JsonMessage;
use engine::{Error, ImageListOptions, ImageRemoveOptions, ImportOptions, Lines, Result};
use futures_util::StreamExt as _;
use http::StatusCode;
use oci::Platform;

use crate::answer::{self, Answer};
use crate::body::{ResponseBody, receive};
use crate::call::Call;
use crate::version::ApiVersion;
use crate::{Api, compat};

/// `GET /images/json`.
pub(crate) fn list(api: &Api, call: &Call) -> Result<Answer> {
    let options = ImageListOptions {
        all: call.query.flag("all"),
        shared: call.query.flag("shared-size") && !call.version.before(42),
        manifests: call.query.flag("manifests") && !call.version.before(47),
    };
    let list = api.0.engine.image_list(options, &call.query.filters()?)?;
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
    let platforms = platforms(call.query.all("platform"), call.version)?;
    let quiet = call.query.flag_or("quiet", true);
    let lines = api
        .0
        .engine
        .image_load(call.body.stream(), platforms, quiet);
    answer::lines(receive(lines))
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
    let platforms = platforms(call.query.all("platform"), call.version)?;
    if names.iter().all(String::is_empty) {
        return Err(Error::invalid("no image names given"));
    }
    let stream = api.0.engine.image_save(names, &platforms)?;
    answer::bytes("application/x-tar", ResponseBody::channel(stream))
}

/// `POST /images/{name}/push`.
pub(crate) async fn push(api: &Api, call: &Call, name: &str) -> Result<Answer> {
    let platform = platform(call, 46)?;
    let tag = call.query.get("tag").unwrap_or_default();
    let auth = call.registry_auth();
    let lines = api.0.engine.image_push(name, tag, platform, auth)?;
    progress(lines).await
}

/// A platform as moby's `DecodePlatform` reads it: JSON.
fn platform_of(text: &str) -> Result<Platform> {
    let platform: Platform = serde_json::from_str(text)
        .map_err(|error| Error::invalid(format!("failed to parse platform: {error}")))?;
    let missing = (platform.os.is_empty(), platform.architecture.is_empty());
    let optional = !platform.variant.is_empty()
        || !platform.os_version.is_empty()
        || !platform.os_features.is_empty();
    match missing {
        (false, false) => Ok(platform),
        (true, true) if optional => Err(Error::invalid(
            "optional platform fields provided, but OS and Architecture are missing",
        )),
        _ => Err(Error::invalid("both OS and Architecture must be provided")),
    }
}

/// One or more of them, for archives: since 1.48, and more than one since 1.52.
fn platforms(texts: Vec<String>, version: ApiVersion) -> Result<Vec<Platform>> {
    if version.before(48) {
        return Ok(Vec::new());
    }
    if version.before(52) && texts.len() > 1 {
        return Err(Error::invalid(
            "multiple platform parameters are not supported in this API version; use API version \
             1.52 or later",
        ));
    }
    texts.iter().map(|text| platform_of(text)).collect()
}

/// One platform, since a version of the API.
fn platform(call: &Call, since: u32) -> Result<Option<Platform>> {
    let text = call.query.text("platform");
    let text = text.filter(|_| !call.version.before(since));
    text.map(platform_of).transpose()
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
    let manifests = call.query.flag("manifests") && !call.version.before(48);
    let platform = platform(call, 49)?;
    let found = api
        .0
        .engine
        .image_inspect_for(name, platform.as_ref(), manifests)?;
    answer::ok(&compat::image(found, call.version)?)
}

/// `GET /images/{name}/history`.
pub(crate) fn history(api: &Api, call: &Call, name: &str) -> Result<Answer> {
    let platform = platform(call, 48)?;
    answer::ok(&api.0.engine.image_history(name, platform.as_ref())?)
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
    let platforms = match call.version.before(50) {
        true => Vec::new(),
        false => call.query.all("platforms"),
    };
    let platforms: Result<Vec<Platform>> = platforms.iter().map(|it| platform_of(it)).collect();
    let options = ImageRemoveOptions {
        force: call.query.flag("force"),
        no_prune: call.query.flag("noprune"),
        platforms: platforms?,
    };
    answer::ok(&api.0.engine.image_remove(name, options).await?)
}

#[cfg(test)]
mod tests {
    use super::{platform_of, platforms};
    use crate::version::ApiVersion;

    #[test]
    fn platforms_are_json_and_several_since_a_version() {
        let of = |text: &str| platform_of(text).map(|platform| platform.to_string());
        let arm = r#"{"os":"linux","architecture":"arm","variant":"v7"}"#;
        assert_eq!(of(arm).expect("platform"), "linux/arm/v7");
        for (text, wanted) in [
            ("linux/arm64", "failed to parse platform: "),
            (
                r#"{"os":"linux"}"#,
                "both OS and Architecture must be provided",
            ),
            (
                r#"{"variant":"v7"}"#,
                "optional platform fields provided, but OS and Architecture are missing",
            ),
        ] {
            let refused = platform_of(text).expect_err(text).message;
            assert!(refused.starts_with(wanted), "{text}: {refused}");
        }
        let version = |minor| ApiVersion::new(1, minor);
        let two = vec![arm.to_owned(), arm.to_owned()];
        assert_eq!(platforms(two.clone(), version(47)).expect("ignored"), []);
        assert!(platforms(two.clone(), version(51)).is_err());
        assert_eq!(platforms(two, version(52)).expect("two").len(), 2);
    }
}
