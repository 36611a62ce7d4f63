//! What the daemon shows of its inside, below `/debug`: only in debug mode.

use engine::{Error, Result};
use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::body::ResponseBody;
use crate::{Api, unsupported};

/// `GET /debug/…`.
pub(crate) async fn debug(api: &Api, path: &str, segments: &[&str]) -> Result<Answer> {
    if !api.0.engine.is_debug() {
        return Err(Error::not_found("page not found"));
    }
    match segments {
        ["state"] => answer::ok(&api.debug_state().await?),
        ["vars"] => answer::ok(&vars(api)),
        ["pprof", "cmdline"] => {
            let text = command_line().join("\0");
            let body = ResponseBody::Full(Some(text.into()));
            let kind = "text/plain; charset=utf-8";
            Ok(Answer::Response(answer::typed(StatusCode::OK, kind, body)))
        }
        _ => {
            Err(unsupported::explain("GET", path)
                .unwrap_or_else(|| Error::not_found("page not found")))
        }
    }
}

impl Api {
    /// The engine's inside and the tasks that work on it, as `GET /debug/state` shows them.
    ///
    /// # Errors
    /// When the platform cannot say what it knows.
    pub async fn debug_state(&self) -> Result<Value> {
        let failed =
            |error: serde_json::Error| Error::system(format!("cannot encode answer: {error}"));
        let state = self.0.engine.debug_state().await?;
        let mut state = serde_json::to_value(state).map_err(failed)?;
        state["Tasks"] = tasks();
        state["Process"] = process(self);
        Ok(state)
    }
}

/// As Go's expvar: the command line and what memory is used, by the names that scripts look for.
fn vars(api: &Api) -> Value {
    let figures = api.0.engine.figures();
    json!({
        "cmdline": command_line(),
        "memstats": { "Sys": figures.resident },
        "tasks": tasks(),
        "process": process(api),
    })
}

fn tasks() -> Value {
    let metrics = tokio::runtime::Handle::current().metrics();
    json!({
        "Workers": metrics.num_workers(),
        "Alive": metrics.num_alive_tasks(),
        "Queued": metrics.global_queue_depth(),
    })
}

fn process(api: &Api) -> Value {
    let figures = api.0.engine.figures();
    json!({
        "Pid": std::process::id(),
        "Resident": figures.resident,
        "Descriptors": figures.descriptors,
        "Threads": figures.threads,
    })
}

fn command_line() -> Vec<String> {
    std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect()
}
