//! What a route answers, and the headers that all answers carry.

use std::sync::LazyLock;

use bytes::Bytes;
use dockerapi::{API_VERSION, ErrorResponse};
use engine::{Error, ErrorKind, Result};
use futures_util::{Stream, StreamExt as _};
use http::header::{CONTENT_TYPE, HeaderName, SERVER};
use http::{HeaderValue, Response, StatusCode};
use serde::{Serialize, Serializer as _};

use crate::body::ResponseBody;
use crate::hijack::Hijack;
use crate::websocket::WebSocket;

/// What a route answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A response.
    Response(Response<ResponseBody>),
    /// The client's socket is taken over.
    Hijack(Hijack),
    /// The connection goes on as a websocket.
    WebSocket(WebSocket),
}

/// A response with JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Result<Answer> {
    encoded(status, |to| value.serialize(to))
}

/// 200 with JSON of rows that are not all made at once.
pub(crate) fn rows(rows: impl Iterator<Item: Serialize>) -> Result<Answer> {
    encoded(StatusCode::OK, |to| to.collect_seq(rows))
}

fn encoded(
    status: StatusCode,
    encode: impl FnOnce(&mut serde_json::Serializer<&mut Vec<u8>>) -> serde_json::Result<()>,
) -> Result<Answer> {
    let mut text = Vec::with_capacity(128);
    encode(&mut serde_json::Serializer::new(&mut text))
        .map_err(|error| Error::system(format!("cannot encode answer: {error}")))?;
    text.push(b'\n');
    Ok(Answer::Response(typed(
        status,
        "application/json",
        ResponseBody::Full(Some(text.into())),
    )))
}

/// 200 with JSON.
pub(crate) fn ok(value: &impl Serialize) -> Result<Answer> {
    json(StatusCode::OK, value)
}

/// A status without body.
pub(crate) fn status(status: StatusCode) -> Result<Answer> {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = status;
    Ok(Answer::Response(response))
}

/// 204.
pub(crate) fn no_content() -> Result<Answer> {
    status(StatusCode::NO_CONTENT)
}

/// 204, or 304 when there was nothing to do.
pub(crate) fn changed(done: bool) -> Result<Answer> {
    match done {
        true => no_content(),
        false => status(StatusCode::NOT_MODIFIED),
    }
}

/// A stream of bytes of some type.
pub(crate) fn bytes(kind: &'static str, body: ResponseBody) -> Result<Answer> {
    Ok(Answer::Response(typed(StatusCode::OK, kind, body)))
}

/// One JSON value per line, each sent at once.
pub(crate) fn lines<T: Serialize>(
    values: impl Stream<Item = T> + Send + 'static,
) -> Result<Answer> {
    let pieces = values.map(|value| {
        let mut line = serde_json::to_vec(&value)
            .map_err(|error| Error::system(format!("cannot encode answer: {error}")))?;
        line.extend_from_slice(b"\r\n");
        Ok(Bytes::from(line))
    });
    bytes("application/json", ResponseBody::pieces(pieces))
}

/// A response with a content type.
pub(crate) fn typed(
    status: StatusCode,
    kind: &'static str,
    body: ResponseBody,
) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A failure as a response.
pub(crate) fn failure(error: &Error) -> Response<ResponseBody> {
    let status = status_of(error.kind);
    let body = ErrorResponse {
        message: error.message.clone(),
    };
    let text = serde_json::to_vec(&body).unwrap_or_default();
    typed(
        status,
        "application/json",
        ResponseBody::Full(Some(text.into())),
    )
}

/// The same for clients that show a body as it is: those of versions before 1.24.
pub(crate) fn plain_failure(error: &Error) -> Response<ResponseBody> {
    typed(
        status_of(error.kind),
        "text/plain; charset=utf-8",
        ResponseBody::Full(Some(format!("{}\n", error.message).into())),
    )
}

/// The one map from kinds of failures to HTTP.
pub(crate) fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::InvalidParameter => StatusCode::BAD_REQUEST,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::System => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

static COMMON: LazyLock<[(HeaderName, HeaderValue); 4]> = LazyLock::new(|| {
    let name = HeaderName::from_static;
    let value = HeaderValue::from_static;
    [
        (name("api-version"), value(API_VERSION)),
        (name("docker-experimental"), value("false")),
        (name("ostype"), value("linux")),
        (
            SERVER,
            value(concat!("Corten/", env!("CARGO_PKG_VERSION"), " (linux)")),
        ),
    ]
});

/// Adds what every answer says of the server.
pub(crate) fn sign(response: &mut Response<ResponseBody>) {
    let headers = response.headers_mut();
    for (name, value) in COMMON.iter() {
        headers.insert(name.clone(), value.clone());
    }
}
