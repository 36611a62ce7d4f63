//! `exec`.

use dockerapi::{ExecCreate, ExecStart};

use super::run::{check_terminal, detach_keys_text, follow_size};
use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::options::envfile;
use crate::cli::signals::Caught;
use crate::cli::stream::{self, Ended, Streams};
use crate::cli::tty;

/// `exec`.
pub(super) async fn run(call: &Call) -> Outcome {
    let flags = &call.flags;
    let container = &flags.args[0];
    let detach = flags.on("detach");
    let terminal = flags.on("tty");
    let stdin = flags.on("interactive") && !detach;
    let keys_text = detach_keys_text(call);
    let keys = stream::detach_keys(&keys_text)?;
    let size = terminal.then(|| {
        let (height, width) = tty::size();
        [height, width]
    });
    let body = ExecCreate {
        user: flags.text("user").into(),
        privileged: flags.on("privileged"),
        tty: terminal,
        console_size: size,
        attach_stdin: stdin,
        attach_stdout: !detach,
        attach_stderr: !detach,
        detach_keys: keys_text,
        env: envfile::environment(&flags.list("env-file"), &flags.list("env"))?,
        working_dir: flags.text("workdir").into(),
        cmd: flags.args[1..].to_vec(),
    };
    let client = call.app.client().await?;
    if let Err(refused) = check_terminal(stdin, terminal) {
        // A container that does not exist is the more useful complaint.
        client.container_inspect(container).await?;
        return Err(refused);
    }
    let id = client.exec_create(container, &body).await?;
    let start = ExecStart {
        detach,
        tty: terminal,
        console_size: size,
    };
    if detach {
        client.exec_start(&id, &start).await?;
        return Ok(());
    }
    let hijacked = client.exec_attach(&id, &start).await?;
    let streams = Streams {
        stdin,
        output: true,
        tty: terminal,
        keys,
    };
    let copy = async {
        let copy = stream::copy(hijacked, &streams);
        if !terminal || !tty::stdin_is_terminal() {
            return copy.await;
        }
        tokio::pin!(copy);
        let resize = async |height: u16, width: u16| {
            // The process may have ended meanwhile.
            let _ = client.exec_resize(&id, height, width).await;
        };
        tokio::select! {
            ended = &mut copy => ended,
            () = follow_size(true, resize) => Ok(Ended::Closed),
        }
    };
    let ended = if terminal {
        // The terminal is raw meanwhile and has to be put right.
        let mut caught = Caught::ending();
        tokio::select! {
            biased;
            ended = copy => ended?,
            (_, number) = caught.next() => return Err(Failure::status(i64::from(128 + number))),
        }
    } else {
        copy.await?
    };
    if ended == Ended::Detached {
        return Err(Failure::new("read escape sequence"));
    }
    match client.exec_inspect(&id).await?.exit_code {
        Some(0) | None => Ok(()),
        Some(code) => Err(Failure::status(code.into())),
    }
}
