//! Which handler answers a path.

use engine::{Error, Result};
use http::StatusCode;

use crate::answer::Answer;
use crate::call::Call;
use crate::metrics::Action;
use crate::{
    Api, answer, archive, commit, containers, create, debug, events, exec, images, store, streams,
    system, unsupported, volumes,
};

/// Answers a call.
///
/// # Errors
/// What the handler says; not found for a path that the API does not have.
pub(crate) async fn route(api: &Api, call: Call) -> Result<Answer> {
    let path = call.path.clone();
    let method = call.method.clone();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match (method.as_str(), segments.as_slice()) {
        ("OPTIONS", _) => answer::status(StatusCode::OK),
        ("GET" | "HEAD", ["_ping"]) => system::ping(),
        ("GET", ["version"]) => system::version(api),
        ("GET", ["info"]) => system::info(api, &call),
        ("GET", ["debug", rest @ ..]) => debug::debug(api, &path, rest).await,
        ("GET", ["events"]) => events::events(api, &call).await,
        ("POST", ["auth"]) => system::auth(api, call).await,
        (_, ["containers", rest @ ..]) => container(api, call, method.as_str(), rest).await,
        ("POST", ["commit"]) => commit::commit(api, call).await,
        ("POST", ["exec", id, "start"]) => exec::start(api, call, id).await,
        ("POST", ["exec", id, "resize"]) => exec::resize(api, &call, id).await,
        ("GET", ["exec", id, "json"]) => exec::inspect(api, id),
        ("GET", ["system", "df"]) => system::disk_usage(api, &call).await,
        ("GET", ["distribution", name @ .., "json"]) if !name.is_empty() => {
            system::distribution(api, &call, &name.join("/")).await
        }
        (_, ["volumes", rest @ ..]) => volume(api, call, method.as_str(), rest).await,
        (_, ["corten", "images", rest @ ..]) => own(api, &call, method.as_str(), rest).await,
        (_, ["images", rest @ ..]) => image(api, call, method.as_str(), rest).await,
        _ => Err(missing(&call)),
    }
}

async fn container(api: &Api, call: Call, method: &str, segments: &[&str]) -> Result<Answer> {
    // A linked container has a name of two parts.
    let linked = match (method, segments) {
        (_, [_, "attach", "ws"]) | (_, [_, "checkpoints", _]) => String::new(),
        ("DELETE", [parent, alias]) | (_, [parent, alias, _]) => format!("{parent}/{alias}"),
        _ => String::new(),
    };
    let joined = segments
        .get(2..)
        .map(|rest| [&[linked.as_str()], rest].concat());
    let segments = match &joined {
        Some(joined) if !linked.is_empty() => joined.as_slice(),
        _ => segments,
    };
    match (method, segments) {
        ("GET", ["json"]) => containers::list(api, &call).await,
        ("POST", ["create"]) => {
            let work = create::create(api, call);
            api.timed(Action::ContainerCreate, work).await
        }
        ("POST", ["prune"]) => containers::prune(api, &call).await,
        ("DELETE", [id]) => {
            let work = containers::remove(api, &call, id);
            api.timed(Action::ContainerDelete, work).await
        }
        ("GET", [id, "json"]) => containers::inspect(api, &call, id),
        ("GET", [id, "top"]) => containers::top(api, &call, id).await,
        ("GET", [id, "logs"]) => streams::logs(api, &call, id),
        ("GET", [id, "changes"]) => {
            let work = containers::changes(api, id);
            api.timed(Action::ContainerChanges, work).await
        }
        ("GET", [id, "export"]) => archive::export(api, id).await,
        ("GET", [id, "stats"]) => streams::stats(api, &call, id),
        ("POST", [id, "resize"]) => containers::resize(api, &call, id).await,
        ("POST", [id, "start"]) => {
            let work = containers::start(api, &call, id);
            api.timed(Action::ContainerStart, work).await
        }
        ("POST", [id, "stop"]) => containers::stop(api, &call, id).await,
        ("POST", [id, "restart"]) => containers::restart(api, &call, id).await,
        ("POST", [id, "kill"]) => containers::kill(api, &call, id).await,
        ("POST", [id, "update"]) => containers::update(api, call, id).await,
        ("POST", [id, "rename"]) => containers::rename(api, &call, id).await,
        ("POST", [id, "pause"]) => containers::pause(api, id).await,
        ("POST", [id, "unpause"]) => containers::unpause(api, id).await,
        ("POST", [id, "attach"]) => streams::attach(api, call, id).await,
        ("GET", [id, "attach", "ws"]) => streams::attach_websocket(api, &call, id).await,
        ("POST", [id, "wait"]) => streams::wait(api, &call, id).await,
        ("HEAD", [id, "archive"]) => archive::stat(api, &call, id).await,
        ("GET", [id, "archive"]) => archive::get(api, &call, id).await,
        ("PUT", [id, "archive"]) => archive::put(api, call, id).await,
        ("POST", [id, "exec"]) => exec::create(api, call, id).await,
        _ => Err(missing(&call)),
    }
}

async fn volume(api: &Api, call: Call, method: &str, segments: &[&str]) -> Result<Answer> {
    match (method, segments) {
        ("GET", []) => volumes::list(api, &call),
        ("POST", ["create"]) => volumes::create(api, call).await,
        ("POST", ["prune"]) => volumes::prune(api, &call).await,
        ("GET", [name]) if !name.is_empty() => volumes::inspect(api, name),
        ("DELETE", [name]) if !name.is_empty() => volumes::remove(api, &call, name).await,
        _ => Err(missing(&call)),
    }
}

async fn image(api: &Api, call: Call, method: &str, segments: &[&str]) -> Result<Answer> {
    // Names have slashes.
    match (method, segments) {
        ("GET", ["json"]) => images::list(api, &call),
        ("POST", ["create"]) if call.query.text("fromImage").is_some() => {
            until_sent(api, Action::ImagePull, images::create(api, call)).await
        }
        ("POST", ["create"]) => images::create(api, call).await,
        ("POST", ["load"]) => images::load(api, call),
        ("GET", ["get"]) => images::save(api, &call, &call.query.all("names")),
        ("POST", ["prune"]) => images::prune(api, &call).await,
        ("GET", ["search"]) => images::search(api, &call).await,
        ("POST", [name @ .., "push"]) if !name.is_empty() => {
            let name = name.join("/");
            until_sent(api, Action::ImagePush, images::push(api, &call, &name)).await
        }
        ("GET", [name @ .., "get"]) => images::save(api, &call, &[name.join("/")]),
        ("GET", [name @ .., "json"]) if !name.is_empty() => {
            images::inspect(api, &call, &name.join("/"))
        }
        ("GET", [name @ .., "history"]) if !name.is_empty() => {
            let _timing = api.timing(Action::ImageHistory);
            images::history(api, &call, &name.join("/"))
        }
        ("POST", [name @ .., "tag"]) if !name.is_empty() => {
            images::tag(api, &call, &name.join("/")).await
        }
        ("DELETE", name @ [_, ..]) => {
            let name = name.join("/");
            let work = images::remove(api, &call, &name);
            api.timed(Action::ImageDelete, work).await
        }
        _ => Err(missing(&call)),
    }
}

/// Takes the time from the request to the last byte of a stream that tells of the progress, whatever
/// that is: as dockerd, which counts failures of these, too.
async fn until_sent(
    api: &Api,
    action: Action,
    work: impl Future<Output = Result<Answer>>,
) -> Result<Answer> {
    let timing = api.timing(action);
    match work.await? {
        Answer::Response(response) => {
            Ok(Answer::Response(response.map(|body| body.holding(timing))))
        }
        other => Ok(other),
    }
}

/// What Docker has not (docs/api.md).
async fn own(api: &Api, call: &Call, method: &str, segments: &[&str]) -> Result<Answer> {
    match (method, segments) {
        ("POST", ["scrub"]) => store::scrub(api).await,
        ("POST", ["collect"]) => store::collect(api, call).await,
        ("GET", ["removed"]) => store::removed(api),
        ("GET", ["plan"]) => store::plan(api, call).await,
        ("POST", [name @ .., "restore"]) if !name.is_empty() => {
            store::restore(api, &name.join("/")).await
        }
        _ => Err(missing(call)),
    }
}

/// What there is no handler for: 501 when the API has it, else 404.
fn missing(call: &Call) -> Error {
    unsupported::explain(call.method.as_str(), &call.path)
        .unwrap_or_else(|| Error::not_found("page not found"))
}
