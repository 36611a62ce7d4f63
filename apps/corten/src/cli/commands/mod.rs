//! One function for each command.

mod attach;
mod create;
mod exec;
mod lifecycle;
mod logs;
mod pull;
mod run;
pub(crate) mod version;

use super::Call;
use super::failure::{Failure, Outcome};

/// Runs the command with this full name.
pub(crate) async fn run(path: &str, call: &Call) -> Outcome {
    match path {
        "container run" => run::run(call).await,
        "container create" => create::run(call).await,
        "container start" => lifecycle::start(call).await,
        "container stop" => lifecycle::stop(call).await,
        "container restart" => lifecycle::restart(call).await,
        "container kill" => lifecycle::kill(call).await,
        "container pause" => lifecycle::pause(call).await,
        "container unpause" => lifecycle::unpause(call).await,
        "container wait" => lifecycle::wait(call).await,
        "container rm" => lifecycle::rm(call).await,
        "container rename" => lifecycle::rename(call).await,
        "container attach" => attach::run(call).await,
        "container exec" => exec::run(call).await,
        "container logs" => logs::run(call).await,
        "image pull" => pull::run(call).await,
        other => Err(Failure::new(format!(
            "{}: '{other}' is not supported yet",
            call.app.program
        ))),
    }
}

/// Does something for each name: prints the name where it worked and the error where not.
pub(crate) async fn each<F>(names: &[String], mut act: F) -> Outcome
where
    F: AsyncFnMut(&str) -> client::Result<Option<String>>,
{
    let mut failed = false;
    for name in names {
        match act(name).await {
            Ok(text) => super::out::line(text.as_deref().unwrap_or(name)),
            Err(error) => {
                failed = true;
                super::out::error(&error.to_string());
            }
        }
    }
    if failed {
        return Err(Failure::status(1));
    }
    Ok(())
}
