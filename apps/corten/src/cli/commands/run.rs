//! `run`: create, attach, start, and stay until the container ends.

use client::{AttachOptions, Client, Query, WaitCondition};
use dockerapi::{ContainerConfig, WaitResponse};

use super::create;
use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::signals::Caught;
use crate::cli::stream::{self, Ended, Streams};
use crate::cli::{out, tty};

/// `run`.
pub(super) async fn run(call: &Call) -> Outcome {
    let flags = &call.flags;
    let mut body = create::body(call)?;
    let detach = flags.on("detach");
    if detach {
        if flags.changed("attach") {
            return Err("conflicting options: cannot specify both --attach and --detach".into());
        }
        let config = &mut body.config;
        config.attach_stdin = false;
        config.attach_stdout = false;
        config.attach_stderr = false;
        config.stdin_once = false;
    } else {
        check_terminal(body.config.attach_stdin, body.config.tty)?;
    }
    let id = match create::create(call, &body).await {
        Ok(id) => id,
        Err(failure) => return Err(start_failure(call, &failure.text)),
    };
    let client = call.app.client().await?;
    let config = &body.config;
    if !config.attach_stdin && !config.attach_stdout && !config.attach_stderr {
        // Told at once: it is there, whether it starts or not.
        out::line(&id);
        client
            .container_start(&id, &Query::new())
            .await
            .map_err(|error| start_failure(call, &error.to_string()))?;
        return Ok(());
    }
    let forward = flags.on("sig-proxy") && !config.tty;
    let keys_text = detach_keys_text(call);
    let keys =
        stream::detach_keys(&keys_text).map_err(|failure| start_failure(call, &failure.text))?;
    let session = Session {
        client,
        id: &id,
        remove: flags.on("rm"),
        keys,
        keys_text,
    };
    with_signals(client, &id, forward, session.attached(call, config)).await
}

/// Refuses a terminal in the container where the input is none.
pub(super) fn check_terminal(stdin: bool, wanted: bool) -> Outcome {
    if stdin && wanted && !tty::stdin_is_terminal() {
        return Err("the input device is not a TTY".into());
    }
    Ok(())
}

/// `--detach-keys`, else the configuration's.
pub(super) fn detach_keys_text(call: &Call) -> String {
    match call.flags.text("detach-keys") {
        "" => call.app.config().text("detachKeys").to_owned(),
        keys => keys.to_owned(),
    }
}

/// Runs `work` while signals go to the container or, with a terminal, end this program in good
/// order.
pub(super) async fn with_signals<F>(client: &Client, id: &str, forward: bool, work: F) -> Outcome
where
    F: Future<Output = Outcome>,
{
    if forward {
        let caught = Caught::forwarded();
        return tokio::select! {
            biased;
            outcome = work => outcome,
            () = caught.forward(client, id) => Ok(()),
        };
    }
    let mut caught = Caught::ending();
    tokio::select! {
        biased;
        outcome = work => outcome,
        (_, number) = caught.next() => Err(Failure::status(i64::from(128 + number))),
    }
}

/// Keeps the container's terminal as large as ours.
pub(super) async fn follow_size<F>(initial: bool, mut resize: F)
where
    F: AsyncFnMut(u16, u16),
{
    let Some(mut changes) = Caught::resize() else {
        return std::future::pending().await;
    };
    let mut now = initial;
    loop {
        if now {
            let (height, width) = tty::size();
            if height > 0 && width > 0 {
                resize(height, width).await;
            }
        }
        now = true;
        if changes.recv().await.is_none() {
            return std::future::pending().await;
        }
    }
}

struct Session<'a> {
    client: &'a Client,
    id: &'a str,
    remove: bool,
    keys: Vec<u8>,
    keys_text: String,
}

impl Session<'_> {
    async fn attached(&self, call: &Call, config: &ContainerConfig) -> Outcome {
        let options = AttachOptions {
            stdin: config.attach_stdin,
            stdout: config.attach_stdout,
            stderr: config.attach_stderr,
            logs: false,
            detach_keys: self.keys_text.clone(),
        };
        let condition = if self.remove {
            WaitCondition::Removed
        } else {
            WaitCondition::NextExit
        };
        // Both are under way at once, and both are known to the engine before it starts.
        let (hijacked, wait) = tokio::join!(
            self.client.container_attach(self.id, &options),
            self.client.container_wait(self.id, condition),
        );
        let hijacked = hijacked.map_err(|error| start_failure(call, &error.to_string()))?;
        let wait = wait.map_err(|error| start_failure(call, &error.to_string()))?;
        if let Err(error) = self.client.container_start(self.id, &Query::new()).await {
            drop(hijacked);
            if self.remove {
                // The engine removes what did not start; then the name is free again.
                let _ = wait.drain().await;
            }
            return Err(start_failure(call, &error.to_string()));
        }
        let streams = Streams {
            stdin: config.attach_stdin,
            output: config.attach_stdout || config.attach_stderr,
            tty: config.tty,
            keys: self.keys.clone(),
        };
        let resize = async |height: u16, width: u16| {
            // The container may have ended meanwhile.
            let _ = self.client.container_resize(self.id, height, width).await;
        };
        let sized = config.tty && out::is_terminal();
        let exit = wait_status(wait);
        tokio::pin!(exit);
        let copied = async {
            let copy = stream::copy(hijacked, &streams);
            tokio::pin!(copy);
            if sized {
                tokio::select! {
                    ended = &mut copy => ended,
                    () = follow_size(true, resize) => Ok(Ended::Closed),
                }
            } else {
                copy.await
            }
        };
        tokio::pin!(copied);
        let ended = if streams.output {
            copied.await?
        } else {
            tokio::select! {
                ended = &mut copied => ended?,
                // Without output the end of the container is the only sign.
                status = &mut exit => return status,
            }
        };
        match ended {
            Ended::Detached => Ok(()),
            Ended::Closed => exit.await,
        }
    }
}

/// The container's exit code as the outcome.
pub(super) async fn wait_status(wait: client::Response<'_>) -> Outcome {
    let answer: Result<WaitResponse, client::Error> = wait.json().await;
    match answer {
        Ok(answer) => {
            if let Some(error) = answer.error
                && !error.message.is_empty()
            {
                return Err(Failure::new(format!(
                    "Error waiting for container: {}",
                    error.message
                ))
                .with_code(125));
            }
            if answer.status_code != 0 {
                return Err(Failure::status(answer.status_code));
            }
            Ok(())
        }
        Err(error) => {
            Err(Failure::new(format!("error waiting for container: {error}")).with_code(125))
        }
    }
}

/// docker's exit codes by the engine's text: 127 not found, 126 not to be executed, else 125.
fn start_failure(call: &Call, text: &str) -> Failure {
    let has = |needle: &str| text.contains(needle);
    let code = if has("executable file not found")
        || has("no such file or directory")
        || has("system cannot find the file specified")
    {
        127
    } else if has("permission denied") || has("is a directory") {
        126
    } else {
        125
    };
    create::with_help(call, text).with_code(code)
}
