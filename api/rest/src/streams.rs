//! Routes about containers whose answers go on: logs, stats, attach, wait.

use bytes::Bytes;
use engine::{AttachOptions, Error, LogsOptions, Result, WaitCondition};

use crate::answer::{self, Answer};
use crate::body::{ResponseBody, receive};
use crate::call::Call;
use crate::hijack::{Hijack, stream_kind};
use crate::websocket::WebSocket;
use crate::{Api, timestamp};

/// `GET /containers/{id}/logs`.
pub(crate) fn logs(api: &Api, call: &Call, id: &str) -> Result<Answer> {
    let query = &call.query;
    let time = |key| -> Result<Option<i128>> {
        // Clients send 0 for "not given".
        Ok(timestamp::parse(query.get(key).unwrap_or_default())?.filter(|time| *time != 0))
    };
    let options = LogsOptions {
        follow: query.flag("follow"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        since: time("since")?,
        until: time("until")?,
        // As dockerd: what is no number means all.
        tail: query.get("tail").and_then(|tail| tail.parse().ok()),
        unframed: false,
    };
    let (tty, stream) = api.0.engine.container_logs(id, options)?;
    answer::bytes(
        stream_kind(tty, call.version),
        ResponseBody::channel(stream),
    )
}

/// `GET /containers/{id}/stats`.
pub(crate) fn stats(api: &Api, call: &Call, id: &str) -> Result<Answer> {
    let stream = call.query.flag_or("stream", true);
    let one_shot = call.query.flag("one-shot") && !call.version.before(41);
    if stream && one_shot {
        return Err(Error::invalid("cannot have stream=true and one-shot=true"));
    }
    answer::lines(receive(api.0.engine.container_stats(id, stream, one_shot)?))
}

/// `POST /containers/{id}/attach`.
pub(crate) async fn attach(api: &Api, call: Call, id: &str) -> Result<Answer> {
    let query = &call.query;
    let options = AttachOptions {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        stream: query.flag("stream"),
        logs: query.flag("logs"),
        detach_keys: query.text("detachKeys").map(str::to_owned),
        unframed: false,
    };
    let session = api.0.engine.container_attach(id, options).await?;
    let mut hijack = Hijack::session(session, call.version);
    hijack.rest = Some(call.body);
    Ok(Answer::Hijack(hijack))
}

/// `GET /containers/{id}/attach/ws`.
pub(crate) async fn attach_websocket(api: &Api, call: &Call, id: &str) -> Result<Answer> {
    let query = &call.query;
    // Before 1.42 what was asked for did not matter.
    let wants = |key| call.version.before(42) || query.flag(key);
    let options = AttachOptions {
        stdin: wants("stdin"),
        stdout: wants("stdout"),
        stderr: wants("stderr"),
        stream: query.flag("stream"),
        logs: query.flag("logs"),
        detach_keys: query.text("detachKeys").map(str::to_owned),
        unframed: true,
    };
    let input = options.stdin;
    let session = api.0.engine.container_attach(id, options).await?;
    let hijack = Hijack::session(session, call.version);
    let text = call.version.before(28);
    let socket = WebSocket::new(&call.headers, hijack, text, input)?;
    Ok(Answer::WebSocket(socket))
}

/// `POST /containers/{id}/wait`. The headers go out at once: clients start the container when they
/// have them.
pub(crate) async fn wait(api: &Api, call: &Call, id: &str) -> Result<Answer> {
    let old = call.version.before(30);
    let condition = match call.query.get("condition").unwrap_or_default() {
        _ if old => WaitCondition::NotRunning,
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => return Err(Error::invalid(format!("invalid condition: {other:?}"))),
    };
    let ended = api.0.engine.container_wait(id, condition)?;
    if old {
        // Such a client takes the headers for the end.
        return answer::ok(&ended.await);
    }
    let body = futures_util::stream::once(async move {
        let mut text = serde_json::to_vec(&ended.await)
            .map_err(|error| Error::system(format!("cannot encode answer: {error}")))?;
        text.push(b'\n');
        Ok(Bytes::from(text))
    });
    answer::bytes("application/json", ResponseBody::pieces(body))
}
