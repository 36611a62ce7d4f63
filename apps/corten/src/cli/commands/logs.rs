//! `logs`.

use client::{FrameReader, LogsOptions};

use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::{out, stream, timestamp};

/// `logs`.
pub(super) async fn run(call: &Call) -> Outcome {
    let flags = &call.flags;
    let name = &flags.args[0];
    let client = call.app.client().await?;
    let container = client.container_inspect(name).await?;
    let moment = |flag: &str| {
        timestamp::parse(flags.text(flag))
            .map_err(|error| Failure::new(format!("invalid value for \"{flag}\": {error}")))
    };
    let options = LogsOptions {
        follow: flags.on("follow"),
        details: flags.on("details"),
        timestamps: flags.on("timestamps"),
        since: moment("since")?,
        until: moment("until")?,
        tail: flags.text("tail").into(),
    };
    let mut response = client.container_logs(&container.id, &options).await?;
    let mut frames = FrameReader::new();
    while let Some(chunk) = response.chunk().await? {
        if container.config.tty {
            out::write(&chunk);
        } else {
            frames.push(&chunk);
            stream::write_frames(&mut frames)?;
        }
    }
    Ok(())
}
