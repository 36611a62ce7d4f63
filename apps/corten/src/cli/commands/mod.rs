//! One function for each command.

mod attach;
mod cp;
mod create;
mod df;
mod exec;
mod history;
mod image;
mod images;
mod info;
mod inspect;
mod lifecycle;
mod login;
mod logs;
mod manifest;
mod observe;
mod plan;
mod prune;
mod ps;
mod pull;
mod push;
mod resources;
mod run;
mod search;
mod stats;
mod store;
mod typed;
mod update;
mod usage;
pub(crate) mod version;
mod volume;

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
        "container ls" => ps::run(call).await,
        "container inspect" => inspect::container(call).await,
        "container cp" => cp::run(call).await,
        "container port" => observe::port(call).await,
        "container top" => observe::top(call).await,
        "container diff" => observe::diff(call).await,
        "container stats" => stats::run(call).await,
        "container export" => image::export(call).await,
        "container commit" => image::commit(call).await,
        "container update" => update::run(call).await,
        "container prune" => prune::containers(call).await,
        "image pull" => pull::run(call).await,
        "image push" => push::run(call).await,
        "image ls" => images::run(call).await,
        "image inspect" => inspect::image(call).await,
        "image history" => history::run(call).await,
        "image tag" => image::tag(call).await,
        "image rm" => image::rm(call).await,
        "image load" => image::load(call).await,
        "image save" => image::save(call).await,
        "image import" => image::import(call).await,
        "image prune" => image::prune(call).await,
        "image scrub" => store::scrub(call).await,
        "image removed" => store::removed(call).await,
        "image restore" => store::restore(call).await,
        "image collect" => store::collect(call).await,
        "system info" => info::run(call).await,
        "system events" => observe::events(call).await,
        "system df" => df::run(call).await,
        "system prune" => prune::system(call).await,
        "network inspect" => inspect::network(call).await,
        "network ls" => resources::networks(call).await,
        "volume create" => volume::create(call).await,
        "volume inspect" => inspect::volume(call).await,
        "volume prune" => volume::prune(call).await,
        "volume rm" => volume::rm(call).await,
        "volume ls" => resources::volumes(call).await,
        "version" => version::run(call).await,
        "inspect" => inspect::run(call).await,
        "manifest create" => manifest::create(call).await,
        "manifest annotate" => manifest::annotate(call),
        "manifest inspect" => manifest::inspect(call).await,
        "manifest push" => manifest::push(call).await,
        "manifest rm" => manifest::rm(call),
        "search" => search::run(call).await,
        "login" => login::login(call).await,
        "logout" => login::logout(call),
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
