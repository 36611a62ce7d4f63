//! May this be done to a container in this phase? Pure: `(phase, request) → decision`.

use crate::record::Phase;
use crate::{Error, Result};

/// What is asked of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Start,
    Signal,
    Pause,
    Resume,
    Exec,
    Resize,
    Attach,
    Rename,
    Update,
    Remove { force: bool },
}

/// The answer, when it is no refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Do it.
    Proceed,
    /// It is so already: 304.
    NotModified,
}

/// Decides. `id` and `name` are for the texts, which are moby's.
pub(crate) fn admit(phase: Phase, ask: Ask, id: &str, name: &str) -> Result<Decision> {
    use Phase::{Created, Dead, Exited, Paused, Removed, Removing, Restarting, Running};
    let refuse = |text: String| Err(Error::conflict(text));
    match (ask, phase) {
        (Ask::Remove { .. }, Removing | Removed) => refuse(format!(
            "removal of container {name} is already in progress"
        )),
        (_, Removed) => Err(Error::not_found(format!("No such container: {id}"))),
        (Ask::Start, Running | Restarting) => Ok(Decision::NotModified),
        (Ask::Start, Paused) => {
            refuse("cannot start a paused container, try unpause instead".into())
        }
        (Ask::Start, Removing | Dead) => {
            refuse("container is marked for removal and cannot be started".into())
        }
        (Ask::Signal | Ask::Exec | Ask::Resize, Created | Exited | Dead | Removing) => {
            refuse(format!("container {id} is not running"))
        }
        (Ask::Signal, Restarting) => refuse(format!("container {id} is not running")),
        (Ask::Exec, Paused) => refuse(format!(
            "Container {id} is paused, unpause the container before exec"
        )),
        (Ask::Exec, Restarting) => refuse(format!(
            "Container {id} is restarting, wait until the container is running"
        )),
        (Ask::Pause, Paused) => refuse(format!("container {id} is already paused")),
        (Ask::Pause, Restarting) => refuse(format!(
            "Container {id} is restarting, wait until the container is running"
        )),
        (Ask::Pause, Created | Exited | Dead | Removing) => {
            refuse(format!("container {id} is not running"))
        }
        (Ask::Resume, Created | Running | Restarting | Exited | Dead | Removing) => {
            refuse(format!("Container {id} is not paused"))
        }
        (Ask::Attach, Paused) => refuse(format!(
            "container {id} is paused, unpause the container before attach"
        )),
        (Ask::Attach, Restarting) => refuse(format!(
            "container {id} is restarting, wait until the container is running"
        )),
        (Ask::Rename | Ask::Update, Dead | Removing) => refuse(format!(
            "Container is marked for removal and cannot be \"{}\".",
            if ask == Ask::Rename {
                "rename"
            } else {
                "update"
            }
        )),
        (Ask::Remove { force: false }, Paused) => refuse(format!(
            "cannot remove container \"/{name}\": container is paused and must be unpaused first"
        )),
        (Ask::Remove { force: false }, Running | Restarting) => refuse(format!(
            "cannot remove container \"/{name}\": container is {}: stop the container before \
             removing or force remove",
            phase.as_str()
        )),
        _ => Ok(Decision::Proceed),
    }
}

#[cfg(test)]
mod tests {
    use super::{Ask, Decision, admit};
    use crate::record::Phase;

    const PHASES: [Phase; 8] = [
        Phase::Created,
        Phase::Running,
        Phase::Paused,
        Phase::Restarting,
        Phase::Exited,
        Phase::Removing,
        Phase::Dead,
        Phase::Removed,
    ];

    #[test]
    fn what_needs_a_process_is_refused_without_one() {
        for phase in PHASES.into_iter().filter(|phase| !phase.is_alive()) {
            for ask in [Ask::Signal, Ask::Exec, Ask::Pause, Ask::Resume] {
                assert!(
                    admit(phase, ask, "id", "name").is_err(),
                    "{phase:?} {ask:?}"
                );
            }
        }
    }

    #[test]
    fn force_removes_whatever_is_not_being_removed() {
        for phase in PHASES {
            let forced = admit(phase, Ask::Remove { force: true }, "id", "name");
            let going = matches!(phase, Phase::Removing | Phase::Removed);
            assert_eq!(forced.is_err(), going, "{phase:?}");
        }
    }

    #[test]
    fn starting_twice_changes_nothing() {
        assert_eq!(
            admit(Phase::Running, Ask::Start, "", "").ok(),
            Some(Decision::NotModified)
        );
        assert_eq!(
            admit(Phase::Exited, Ask::Start, "", "").ok(),
            Some(Decision::Proceed)
        );
    }
}
