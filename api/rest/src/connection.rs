//! One connection of a client, from its first byte to its end.

use std::convert::Infallible;
use std::pin::pin;

use engine::{Error, Result};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::sync::watch;

use crate::answer::{Answer, failure, sign};
use crate::body::{RequestBody, ResponseBody, lend};
use crate::call::Call;
use crate::hijack::wanted_protocol;
use crate::stream::Stream;
use crate::{Api, answer, router, sniff, version};

/// What answers calls; the API itself, or a test's.
pub(crate) trait Service: Clone + Send + Sync + 'static {
    /// Decodes a request.
    fn decode(
        &self,
        method: Method,
        uri: &Uri,
        headers: HeaderMap,
        body: RequestBody,
    ) -> Result<Call>;
    /// Answers it.
    fn call(&self, call: Call) -> impl Future<Output = Result<Answer>> + Send;
}

impl Service for Api {
    fn decode(
        &self,
        method: Method,
        uri: &Uri,
        headers: HeaderMap,
        body: RequestBody,
    ) -> Result<Call> {
        Call::decode(method, uri, headers, body, self.0.min_version)
    }

    async fn call(&self, call: Call) -> Result<Answer> {
        let chain = &self.0.authorization;
        let answer = chain.guard(self.1.as_deref(), call, async |call| self.carry(call).await);
        let answer = answer.await;
        self.0.metrics.answered(match &answer {
            Ok(Answer::Response(response)) => response.status(),
            Ok(Answer::Hijack(_) | Answer::WebSocket(_)) => StatusCode::SWITCHING_PROTOCOLS,
            Err(error) => answer::status_of(error.kind),
        });
        answer
    }
}

impl Api {
    async fn carry(&self, call: Call) -> Result<Answer> {
        if call.method == Method::GET || call.method == Method::HEAD {
            return router::route(self, call).await;
        }
        // What changes something is carried to its end when the client leaves.
        let api = self.clone();
        let task = tokio::spawn(async move { router::route(&api, call).await });
        task.await
            .unwrap_or_else(|error| Err(Error::system(format!("request failed: {error}"))))
    }
}

/// Serves a connection until it ends, or `stop` says that no more requests are wanted.
pub(crate) async fn serve<S: Service>(
    service: S,
    mut stream: Stream,
    mut stop: watch::Receiver<bool>,
) {
    match sniff::look(&mut stream).await {
        Ok(None) => {}
        Ok(Some(old)) => {
            if let Err(error) = sniff::serve(&service, stream, old).await {
                tracing::debug!(%error, "a connection ended");
            }
            return;
        }
        Err(error) => return tracing::debug!(%error, "a connection ended"),
    }
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(64 << 10);
    builder.http2().max_concurrent_streams(256);
    let answer = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(respond(&service, request).await) }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), answer);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = told_to_stop(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Also when the sender is gone.
pub(crate) async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn respond<S: Service>(
    service: &S,
    mut request: Request<Incoming>,
) -> Response<ResponseBody> {
    let protocol = match request.version() {
        Version::HTTP_11 => wanted_protocol(request.headers()),
        _ => None,
    };
    let upgrade: Option<OnUpgrade> = request.extensions_mut().remove();
    let (parts, body) = request.into_parts();
    let (method, uri) = (parts.method, parts.uri);
    // A client that waits to be told to go on has sent nothing yet.
    let waits = parts.headers.contains_key(http::header::EXPECT);
    let (body, back) = lend(body);
    tracing::debug!(%method, %uri, "request");
    let answer = match service.decode(method, &uri, parts.headers, body) {
        Ok(call) => service.call(call).await,
        Err(error) if version::is_ancient(uri.path()) => {
            let mut response = answer::plain_failure(&error);
            sign(&mut response);
            return response;
        }
        Err(error) => Err(error),
    };
    let response = match answer {
        Ok(Answer::Response(response)) => Ok(response),
        Ok(Answer::Hijack(hijack)) => match (upgrade, protocol) {
            (Some(upgrade), Some(protocol)) => return hijack.upgrade(upgrade, protocol),
            _ => hijack.bodies(),
        },
        Ok(Answer::WebSocket(socket)) => match upgrade {
            Some(upgrade) => return socket.upgrade(upgrade),
            None => Err(Error::invalid("not websocket protocol")),
        },
        Err(error) => Err(error),
    };
    if response.is_err() && !waits {
        back.drain().await;
    }
    let mut response = response.unwrap_or_else(|error| {
        tracing::debug!(%uri, %error, "request refused");
        failure(&error)
    });
    sign(&mut response);
    response
}

#[cfg(test)]
mod tests;
