//! `attach`, and `start` with `-a` or `-i`.

use client::{AttachOptions, Client, Query, WaitCondition};
use dockerapi::ContainerInspect;

use super::run::{check_terminal, detach_keys_text, follow_size, wait_status, with_signals};
use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::out;
use crate::cli::stream::{self, Ended, Streams};

/// `attach`.
pub(super) async fn run(call: &Call) -> Outcome {
    let name = &call.flags.args[0];
    let keys = stream::detach_keys(&detach_keys_text(call))?;
    let client = call.app.client().await?;
    let wait = client.container_wait(name, WaitCondition::NotRunning).await;
    let container = inspect_running(client, name).await?;
    let wait = wait?;
    let stdin = !call.flags.on("no-stdin");
    let tty = container.config.tty;
    check_terminal(stdin, tty)?;
    let options = AttachOptions {
        stdin: stdin && container.config.open_stdin,
        stdout: true,
        stderr: true,
        logs: false,
        detach_keys: detach_keys_text(call),
    };
    let work = async {
        let hijacked = client.container_attach(name, &options).await?;
        let streams = Streams {
            stdin: options.stdin,
            output: true,
            tty,
            keys,
        };
        match copy(client, &container.id, hijacked, &streams).await? {
            Ended::Detached => Err(Failure::new("read escape sequence")),
            Ended::Closed => wait_status(wait).await,
        }
    };
    with_signals(client, name, call.flags.on("sig-proxy") && !tty, work).await
}

async fn inspect_running(client: &Client, name: &str) -> Outcome<ContainerInspect> {
    let container = client.container_inspect(name).await?;
    let state = &container.state;
    let refused = if !state.running {
        "You cannot attach to a stopped container, start it first"
    } else if state.paused {
        "You cannot attach to a paused container, unpause it first"
    } else if state.restarting {
        "You cannot attach to a restarting container, wait until it is running"
    } else {
        return Ok(container);
    };
    Err(refused.into())
}

async fn copy(
    client: &Client,
    id: &str,
    hijacked: client::Hijacked,
    streams: &Streams,
) -> Outcome<Ended> {
    let copy = stream::copy(hijacked, streams);
    if !streams.tty || !out::is_terminal() {
        return copy.await;
    }
    tokio::pin!(copy);
    let resize = async |height: u16, width: u16| {
        // The container may have ended meanwhile.
        let _ = client.container_resize(id, height, width).await;
    };
    tokio::select! {
        ended = &mut copy => ended,
        () = follow_size(true, resize) => Ok(Ended::Closed),
    }
}

/// `start -a` or `start -i` of one container.
pub(super) async fn start_attached(call: &Call, name: &str) -> Outcome {
    let keys = stream::detach_keys(&detach_keys_text(call))?;
    let client = call.app.client().await?;
    let container = client.container_inspect(name).await?;
    let tty = container.config.tty;
    let options = AttachOptions {
        stdin: call.flags.on("interactive") && container.config.open_stdin,
        stdout: true,
        stderr: true,
        logs: false,
        detach_keys: detach_keys_text(call),
    };
    let condition = if container.host_config.auto_remove {
        WaitCondition::Removed
    } else {
        WaitCondition::NextExit
    };
    let id = &container.id;
    let work = async {
        let (hijacked, wait) = tokio::join!(
            client.container_attach(id, &options),
            client.container_wait(id, condition),
        );
        let (hijacked, wait) = (hijacked?, wait?);
        if let Err(error) = client.container_start(id, &Query::new()).await {
            drop(hijacked);
            if container.host_config.auto_remove {
                let _ = wait.drain().await;
            }
            return Err(error.into());
        }
        let streams = Streams {
            stdin: options.stdin,
            output: true,
            tty,
            keys,
        };
        match copy(client, id, hijacked, &streams).await? {
            Ended::Detached => Ok(()),
            Ended::Closed => wait_status(wait).await,
        }
    };
    with_signals(client, id, !tty, work).await
}
