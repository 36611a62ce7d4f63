//! `start`, `stop`, `restart`, `kill`, `pause`, `unpause`, `wait`, `rm` and `rename`.

use client::{Query, WaitCondition};

use super::{attach, each};
use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::out;

/// `start`.
pub(super) async fn start(call: &Call) -> Outcome {
    let flags = &call.flags;
    let names = &flags.args;
    if flags.changed("checkpoint") || flags.changed("checkpoint-dir") {
        return Err("checkpoints are not supported yet".into());
    }
    if flags.on("attach") || flags.on("interactive") {
        if names.len() > 1 {
            return Err("you cannot start and attach multiple containers at once".into());
        }
        return attach::start_attached(call, &names[0]).await;
    }
    let client = call.app.client().await?;
    let mut failed = Vec::new();
    for name in names {
        match client.container_start(name, &Query::new()).await {
            Ok(()) => out::line(name),
            Err(error) => {
                out::error(&error.to_string());
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let what = format!("failed to start containers: {}", failed.join(", "));
    Err(Failure::new(what_failed(&what)))
}

fn what_failed(what: &str) -> String {
    format!("Error: {what}")
}

/// `stop`.
pub(super) async fn stop(call: &Call) -> Outcome {
    end(call, "stop").await
}

/// `restart`.
pub(super) async fn restart(call: &Call) -> Outcome {
    end(call, "restart").await
}

async fn end(call: &Call, verb: &str) -> Outcome {
    let flags = &call.flags;
    let mut query = Query::new().with_some("signal", flags.text("signal"));
    if flags.changed("timeout") {
        query = query.with("t", flags.int("timeout").to_string());
    }
    let client = call.app.client().await?;
    each(&flags.args, async |name: &str| {
        client.act(name, verb, &query).await.map(|()| None)
    })
    .await
}

/// `kill`.
pub(super) async fn kill(call: &Call) -> Outcome {
    let query = Query::new().with_some("signal", call.flags.text("signal"));
    verb(call, "kill", &query).await
}

/// `pause`.
pub(super) async fn pause(call: &Call) -> Outcome {
    verb(call, "pause", &Query::new()).await
}

/// `unpause`.
pub(super) async fn unpause(call: &Call) -> Outcome {
    verb(call, "unpause", &Query::new()).await
}

async fn verb(call: &Call, verb: &str, query: &Query) -> Outcome {
    let client = call.app.client().await?;
    each(&call.flags.args, async |name: &str| {
        client.act(name, verb, query).await.map(|()| None)
    })
    .await
}

/// `wait`.
pub(super) async fn wait(call: &Call) -> Outcome {
    let client = call.app.client().await?;
    each(&call.flags.args, async |name: &str| {
        let answer = client
            .container_exit(name, WaitCondition::NotRunning)
            .await?;
        Ok(Some(answer.status_code.to_string()))
    })
    .await
}

/// `rm`.
pub(super) async fn rm(call: &Call) -> Outcome {
    let flags = &call.flags;
    let force = flags.on("force");
    let query = Query::new()
        .with_flag("force", force)
        .with_flag("link", flags.on("link"))
        .with_flag("v", flags.on("volumes"));
    let client = call.app.client().await?;
    let mut failed = false;
    for name in &flags.args {
        let name = name.trim_matches('/');
        if name.is_empty() {
            out::error("container name cannot be empty");
            failed = true;
            continue;
        }
        match client.container_remove(name, &query).await {
            Ok(()) => out::line(name),
            Err(error) if force && error.is_not_found() => {
                out::error(&error.to_string());
            }
            Err(error) => {
                out::error(&error.to_string());
                failed = true;
            }
        }
    }
    if failed {
        return Err(Failure::status(1));
    }
    Ok(())
}

/// `rename`.
pub(super) async fn rename(call: &Call) -> Outcome {
    let [old, new] = &call.flags.args[..] else {
        return Err("two names are needed".into());
    };
    if old.trim().is_empty() || new.trim().is_empty() {
        return Err("Error: Neither old nor new names may be empty".into());
    }
    let client = call.app.client().await?;
    client.container_rename(old, new).await.map_err(|error| {
        Failure::new(format!(
            "{error}\n{}",
            what_failed(&format!("failed to rename container named {old}"))
        ))
    })
}
