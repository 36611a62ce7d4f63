//! Authorization plugins: programs beside the daemon that are asked about every request and every
//! answer, as dockerd asks them (`AuthZPlugin.AuthZReq`, `AuthZPlugin.AuthZRes`).
//!
//! ```text
//!  request ─► plugin 1 ─► … ─► plugin n ─► route ─► answer ─► plugin 1 ─► … ─► plugin n ─► client
//! ```
//!
//! All must allow it; the first that does not ends it. A plugin that cannot be asked, or whose
//! answer cannot be read, counts as one that does not allow: nothing passes by default. Bodies are shown
//! where they are JSON, but for those of `/auth`. Unlike dockerd's, a plugin is asked about a stream
//! or an upgrade before its first byte, so that a refusal takes effect.

mod certificate;
mod plugin;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::{Error, Result};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use crate::Api;
use crate::answer::{Answer, status_of};
use crate::body::{RequestBody, ResponseBody};
use crate::call::{Call, is_json};

pub(crate) use certificate::Peer;
use plugin::Plugin;

/// The largest body of a request that is shown to plugins, in bytes; larger ones are refused.
const MAX_BODY: usize = 4 << 20;

/// The chain of plugins.
#[derive(Debug, Default)]
pub(crate) struct Chain(RwLock<Arc<Vec<Arc<Plugin>>>>);

/// What a plugin is told. Fields and their order are dockerd's.
#[derive(Debug, Clone, Default, Serialize)]
struct Question {
    #[serde(rename = "User", skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(rename = "UserAuthNMethod", skip_serializing_if = "str::is_empty")]
    method_of_user: &'static str,
    #[serde(rename = "RequestMethod")]
    method: String,
    #[serde(rename = "RequestUri")]
    uri: String,
    #[serde(rename = "RequestBody", skip_serializing_if = "String::is_empty")]
    body: String,
    #[serde(rename = "RequestHeaders", skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(
        rename = "RequestPeerCertificates",
        skip_serializing_if = "Vec::is_empty"
    )]
    certificates: Vec<String>,
    #[serde(rename = "ResponseStatusCode", skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(rename = "ResponseBody", skip_serializing_if = "String::is_empty")]
    answer: String,
    #[serde(rename = "ResponseHeaders", skip_serializing_if = "BTreeMap::is_empty")]
    answer_headers: BTreeMap<String, String>,
}

/// What it answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Verdict {
    #[serde(rename = "Allow")]
    allow: bool,
    #[serde(rename = "Msg", deserialize_with = "dockerapi::null_default")]
    message: String,
}

impl Api {
    /// Asks these plugins from now on, in this order. Each is looked for and greeted first.
    ///
    /// # Errors
    /// When one is not there, or is not for authorization. Those asked so far stay then.
    pub async fn authorize_by(&self, names: &[String]) -> Result<()> {
        let mut plugins: Vec<Arc<Plugin>> = Vec::new();
        for name in names {
            if plugins.iter().any(|plugin| plugin.name == *name) {
                continue;
            }
            plugins.push(Arc::new(Plugin::find(name).await?));
        }
        let chain = &self.0.authorization.0;
        *chain.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(plugins);
        Ok(())
    }

    /// Names of the plugins that are asked.
    pub(crate) fn authorized_by(&self) -> Vec<String> {
        let plugins = self.0.authorization.plugins();
        plugins.iter().map(|plugin| plugin.name.clone()).collect()
    }
}

impl Chain {
    fn plugins(&self) -> Arc<Vec<Arc<Plugin>>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets a call and its answer through, or not.
    ///
    /// # Errors
    /// Forbidden when a plugin does not allow it; system when one cannot be asked; the route's own.
    pub(crate) async fn guard(
        &self,
        peer: Option<&Peer>,
        mut call: Call,
        route: impl AsyncFnOnce(Call) -> Result<Answer>,
    ) -> Result<Answer> {
        let plugins = self.plugins();
        if plugins.is_empty() {
            return route(call).await;
        }
        let mut question = Question {
            user: peer.map(|peer| peer.name.clone()).unwrap_or_default(),
            method_of_user: if peer.is_some() { "TLS" } else { "" },
            method: call.method.to_string(),
            // Of HTTP/2, and of a proxy's client, it has scheme and host, too: rules are about paths.
            uri: call
                .uri
                .path_and_query()
                .map_or_else(|| call.path.clone(), ToString::to_string),
            headers: shown(&call.headers),
            certificates: peer.map(|peer| peer.chain.clone()).unwrap_or_default(),
            ..Question::default()
        };
        let is_shown = shows_body(&call.path, &call.headers);
        if is_shown {
            let body = call.body.collect_up_to(MAX_BODY).await?.ok_or_else(|| {
                Error::system(format!(
                    "request body too large for authorization plugin: size exceeds {MAX_BODY} bytes"
                ))
            })?;
            question.body = STANDARD.encode(&body);
            call.body = RequestBody::Full(body);
        }
        ask(&plugins, plugin::REQUEST, &question).await?;
        let path = call.path.clone();
        let answer = route(call).await;
        // The chain may have changed meanwhile; those of now decide, as in dockerd.
        let plugins = self.plugins();
        match &answer {
            Ok(Answer::Response(response)) => {
                question.status = Some(response.status().as_u16());
                question.answer_headers = shown(response.headers());
                if let ResponseBody::Full(Some(body)) = response.body()
                    && shows_body(&path, response.headers())
                {
                    question.answer = STANDARD.encode(body);
                }
            }
            Ok(Answer::Hijack(_) | Answer::WebSocket(_)) => {
                question.status = Some(StatusCode::SWITCHING_PROTOCOLS.as_u16());
            }
            Err(error) => question.status = Some(status_of(error.kind).as_u16()),
        }
        let verdict = ask(&plugins, plugin::RESPONSE, &question).await;
        match (answer, verdict) {
            (Ok(_), Err(refused)) => Err(refused),
            // A failure is told whatever a plugin makes of it.
            (answer, _) => answer,
        }
    }
}

async fn ask(plugins: &[Arc<Plugin>], about: &str, question: &Question) -> Result<()> {
    let body: Bytes = serde_json::to_vec(question)
        .map_err(|error| Error::system(format!("cannot encode a question: {error}")))?
        .into();
    for plugin in plugins {
        let name = &plugin.name;
        let answer = plugin.call(about, body.clone()).await;
        let verdict = answer.and_then(|bytes| {
            serde_json::from_slice::<Verdict>(&bytes).map_err(|error| error.to_string())
        });
        let verdict = verdict.map_err(|error| {
            tracing::error!(plugin = name, %error, "authorization");
            Error::system(format!("plugin {name} failed with error: {error}"))
        })?;
        if !verdict.allow {
            return Err(Error::forbidden(format!(
                "authorization denied by plugin {name}: {}",
                verdict.message
            )));
        }
    }
    Ok(())
}

/// Headers by name, without those that carry secrets. Of several with one name the last.
fn shown(headers: &HeaderMap) -> BTreeMap<String, String> {
    const SECRET: [&str; 3] = ["authorization", "x-registry-config", "x-registry-auth"];
    let public = headers
        .iter()
        .filter(|(name, _)| !SECRET.contains(&name.as_str()));
    public
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (canonical(name.as_str()), value)
        })
        .collect()
}

/// `content-type` as Go spells it.
fn canonical(name: &str) -> String {
    let mut upper = true;
    name.chars()
        .map(|c| {
            let spelled = if upper { c.to_ascii_uppercase() } else { c };
            upper = c == '-';
            spelled
        })
        .collect()
}

/// Whether plugins are shown the body that comes with these headers.
fn shows_body(path: &str, headers: &HeaderMap) -> bool {
    path != "/auth" && is_json(headers)
}

#[cfg(test)]
mod tests {
    use super::{shown, shows_body};
    use http::{HeaderMap, HeaderValue};

    #[test]
    fn secrets_are_not_shown() {
        let mut headers = HeaderMap::new();
        for name in ["content-type", "x-registry-auth", "authorization"] {
            headers.insert(
                name,
                HeaderValue::from_static("application/json; charset=utf-8"),
            );
        }
        let all = shown(&headers);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["Content-Type"]);
        assert!(shows_body("/containers/create", &headers));
        assert!(!shows_body("/auth", &headers));
        // What no text can have in it makes a body no other.
        let strange = b"application/json; x=\xff";
        let strange = HeaderValue::from_bytes(strange).expect("a header's bytes");
        headers.insert("content-type", strange);
        assert!(shows_body("/containers/create", &headers));
        headers.insert(
            "content-type",
            HeaderValue::from_static("application/x-tar"),
        );
        assert!(!shows_body("/images/load", &headers));
    }
}
