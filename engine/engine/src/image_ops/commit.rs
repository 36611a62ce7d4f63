//! `commit`: a container's changes as one more layer above its image.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dockerapi::ContainerConfig;
use oci::image::Execution;
use oci::{Digest, Reference};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{blocking, changes, tell};
use crate::container::Container;
use crate::copy::changes::made_by_the_container;
use crate::options::CommitOptions;
use crate::owner::Request;
use crate::record::{Phase, Record};
use crate::{Engine, Error, IdMaps, Inner, Result, clock, events, merge};

impl Engine {
    /// Makes an image of a container; answers its ID. A running one is frozen meanwhile where that
    /// is asked for.
    ///
    /// # Errors
    /// Not found; invalid parameter for a name or instructions that are none; conflict while the
    /// container is being removed.
    pub async fn container_commit(&self, options: CommitOptions) -> Result<String> {
        let reference = reference(&options)?;
        let container = self.0.containers.find(&options.container)?;
        let record = container.record();
        match record.state.phase {
            Phase::Dead => return Err(refused(&record.id, "is Dead")),
            Phase::Removing => return Err(refused(&record.id, REMOVED)),
            Phase::Removed => {
                let text = format!("No such container: {}", options.container);
                return Err(Error::not_found(text));
            }
            _ => {}
        }
        let inner = Arc::clone(&self.0);
        let frozen = async move {
            let pause = match options.pause && record.state.phase == Phase::Running {
                true => Pause::begin(&inner, &container).await?,
                false => None,
            };
            let committed =
                blocking(move || commit(&inner, &record, &options, reference.as_ref())).await;
            if let Some(pause) = pause {
                pause.end(&container).await;
            }
            committed
        };
        // A client that leaves must not leave the container frozen.
        let committed = tokio::spawn(frozen)
            .await
            .map_err(|_| Error::system("commit was interrupted"))?;
        Ok(committed?.to_string())
    }
}

/// A container that is frozen for as long as it is committed. A file says so, since an engine that
/// is killed meanwhile would leave it frozen for ever.
struct Pause(PathBuf);

impl Pause {
    /// As dockerd: one that cannot be paused, since it ended or was paused meanwhile, is committed as
    /// it is.
    async fn begin(inner: &Inner, container: &Container) -> Result<Option<Self>> {
        let pause = Self(mark(inner, &container.id));
        let written = std::fs::write(&pause.0, "");
        written.map_err(|error| Error::system(format!("{}: {error}", pause.0.display())))?;
        match container.ask(Request::Pause).await {
            Ok(()) => Ok(Some(pause)),
            Err(_) => {
                pause.forget();
                Ok(None)
            }
        }
    }

    async fn end(self, container: &Container) {
        // It may have ended, or somebody else was faster.
        let _ = container.ask(Request::Resume).await;
        self.forget();
    }

    fn forget(&self) {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.0.display(), %error, "the mark of a commit stays");
            }
            // Or it went with the container.
            _ => {}
        }
    }
}

const REMOVED: &str = "is being removed";

fn refused(id: &str, why: &str) -> Error {
    Error::conflict(format!("You cannot commit container {id} which {why}"))
}

const MARK: &str = "committing-";

/// Each commit has a mark of its own: several may be under way.
fn mark(inner: &Inner, id: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    inner.container_dir(id).join(format!("{MARK}{number}"))
}

/// Lets containers go on whose commits an engine before this one did not finish.
pub(crate) async fn resume_interrupted(inner: &Inner) {
    for container in inner.containers.all() {
        let entries = std::fs::read_dir(inner.container_dir(&container.id));
        for entry in entries.into_iter().flatten().flatten() {
            if entry.file_name().as_bytes().starts_with(MARK.as_bytes()) {
                Pause(entry.path()).end(&container).await;
            }
        }
    }
}

/// The image's name.
fn reference(options: &CommitOptions) -> Result<Option<Reference>> {
    if options.repo.is_empty() {
        return Ok(None);
    }
    let invalid = |error: oci::reference::InvalidReference| Error::invalid(error.to_string());
    let mut reference: Reference = options.repo.parse().map_err(invalid)?;
    if reference.digest().is_some() {
        return Err(Error::invalid("cannot import digest reference"));
    }
    if !options.tag.is_empty() {
        reference = reference
            .with_tag(&options.tag)
            .map_err(|_| Error::invalid("invalid tag format"))?;
    }
    Ok(Some(reference.or_latest()))
}

fn commit(
    inner: &Arc<Inner>,
    record: &Record,
    options: &CommitOptions,
    reference: Option<&Reference>,
) -> Result<Digest> {
    let id = image(inner, record, options)?;
    let made = inner.images.resolve(id.as_str())?;
    tell(inner, &made, "create", id.as_str());
    if let Some(reference) = reference {
        inner.images.tag(&made, reference)?;
        tell(inner, &made, "tag", &reference.familiar());
    }
    let named = reference.map(Reference::familiar).unwrap_or_default();
    let attributes = [
        ("comment", options.comment.clone()),
        ("imageID", id.to_string()),
        ("imageRef", named.to_string()),
    ];
    inner
        .events
        .publish(events::container(record, "commit", &attributes));
    Ok(id)
}

/// The image, without a name.
fn image(inner: &Inner, record: &Record, options: &CommitOptions) -> Result<Digest> {
    let execution = committed(&record.config, options.config.as_ref(), &options.changes)?;
    let parent = inner.images.resolve(&record.image_id)?;
    let writable = inner.writable_dir(&record.id);
    let upper = writable.join("diff");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(&upper, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Err(refused(&record.id, REMOVED)),
        opened => opened
            .map_err(|error| Error::system(format!("opening {}: {error}", upper.display())))?,
    };
    let options = images::CommitOptions {
        execution,
        author: options.author.clone(),
        comment: options.comment.clone(),
        created_by: record.config.cmd.clone().unwrap_or_default().join(" "),
        created: clock::rfc3339(clock::now()),
    };
    let changed = Upper {
        directory: opened.as_fd(),
        ids: record.ids.as_ref(),
    };
    let found = inner.images.upper_changes(&parent, &writable);
    let made = found.and_then(|found| {
        let paths = found.iter().map(|change| relative(&change.path));
        let mut left_out: BTreeSet<PathBuf> = paths.collect();
        for change in made_by_the_container(found, &upper) {
            left_out.remove(&relative(&change.path));
        }
        let images = &inner.images;
        images.commit_changes(&parent, &changed, left_out, options)
    });
    // A removal moves the directory away before anything in it goes: while it is there, all of it
    // was read.
    if matches!(rustix::fs::stat(&upper), Err(Errno::NOENT)) {
        if let Ok(id) = &made {
            inner.images.remove(id)?;
        }
        return Err(refused(&record.id, REMOVED));
    }
    Ok(made?)
}

/// What a container changed. Layers have the owners that it sees, not the host's.
struct Upper<'a> {
    directory: BorrowedFd<'a>,
    ids: Option<&'a IdMaps>,
}

impl archive::Source for Upper<'_> {
    fn open(&self, path: &std::path::Path) -> std::io::Result<OwnedFd> {
        archive::Source::open(&self.directory, path)
    }

    fn is_mount(&self, _: &std::path::Path) -> bool {
        false
    }

    fn owner(&self, uid: u32, gid: u32) -> (u32, u32) {
        self.ids
            .map_or((uid, gid), |ids| ids.to_container(uid, gid))
    }
}

fn relative(path: &std::path::Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

/// The image's defaults: what the client gave, or else the container's own; instructions applied;
/// what is missing then, filled in from the container.
fn committed(
    own: &ContainerConfig,
    given: Option<&ContainerConfig>,
    instructions: &[String],
) -> Result<Execution> {
    let base = execution(given.unwrap_or(own));
    let mut config = configuration(changes::apply(instructions, base)?);
    merge::fill(&mut config, &execution(own));
    Ok(execution(&config))
}

fn execution(config: &ContainerConfig) -> Execution {
    let config = config.clone();
    Execution {
        user: config.user,
        exposed_ports: config.exposed_ports.into_iter().collect(),
        env: config.env.unwrap_or_default(),
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        volumes: config.volumes.unwrap_or_default().into_iter().collect(),
        working_dir: config.working_dir,
        labels: config.labels.into_iter().collect(),
        stop_signal: config.stop_signal,
        args_escaped: config.args_escaped,
        healthcheck: config.healthcheck,
        on_build: config.on_build.unwrap_or_default(),
        shell: config.shell,
    }
}

fn configuration(execution: Execution) -> ContainerConfig {
    ContainerConfig {
        user: execution.user,
        exposed_ports: execution.exposed_ports.into_iter().collect(),
        env: Some(execution.env),
        entrypoint: execution.entrypoint,
        cmd: execution.cmd,
        volumes: Some(execution.volumes.into_iter().collect()),
        working_dir: execution.working_dir,
        labels: execution.labels.into_iter().collect(),
        stop_signal: execution.stop_signal,
        args_escaped: execution.args_escaped,
        healthcheck: execution.healthcheck,
        on_build: Some(execution.on_build),
        shell: execution.shell,
        ..ContainerConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use dockerapi::ContainerConfig;

    use super::{committed, reference};
    use crate::options::CommitOptions;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn own() -> ContainerConfig {
        ContainerConfig {
            user: "u".into(),
            env: Some(strings(&["A=1", "B=2"])),
            cmd: Some(strings(&["run"])),
            working_dir: "/w".into(),
            ..ContainerConfig::default()
        }
    }

    #[test]
    fn instructions_change_what_the_container_has() {
        let made = committed(&own(), None, &strings(&["ENV A=3", "WORKDIR x"])).expect("valid");
        assert_eq!(made.env, ["A=3", "B=2"]);
        assert_eq!(
            (made.user.as_str(), made.working_dir.as_str()),
            ("u", "/w/x")
        );
        assert_eq!(made.cmd, Some(strings(&["run"])));
        // Another entry point takes the command away.
        let made = committed(&own(), None, &strings(&["ENTRYPOINT [\"e\"]"])).expect("valid");
        assert_eq!((made.entrypoint, made.cmd), (Some(strings(&["e"])), None));
        committed(&own(), None, &strings(&["RUN x"])).expect_err("not a change");
    }

    #[test]
    fn a_given_configuration_goes_before_the_container_s() {
        let given = ContainerConfig {
            env: Some(strings(&["B=9"])),
            cmd: Some(strings(&["other"])),
            ..ContainerConfig::default()
        };
        let made = committed(&own(), Some(&given), &strings(&["LABEL l=v"])).expect("valid");
        assert_eq!(made.env, ["B=9", "A=1"]);
        assert_eq!(made.cmd, Some(strings(&["other"])));
        assert_eq!((made.user.as_str(), made.labels["l"].as_str()), ("u", "v"));
    }

    #[test]
    fn names() {
        let named = |repo: &str, tag: &str| {
            let options = CommitOptions {
                repo: repo.into(),
                tag: tag.into(),
                ..CommitOptions::default()
            };
            reference(&options).map(|name| name.map(|name| name.familiar().to_string()))
        };
        assert_eq!(named("", "x").expect("none"), None);
        assert_eq!(named("a", "").expect("name").as_deref(), Some("a:latest"));
        assert_eq!(named("a:1", "2").expect("name").as_deref(), Some("a:2"));
        for (repo, says) in [
            ("UPPER", "must be lowercase"),
            (
                &format!("a@sha256:{}", "0".repeat(64)),
                "cannot import digest reference",
            ),
        ] {
            let error = named(repo, "").expect_err(repo);
            assert!(error.message.contains(says), "{error}");
        }
    }
}
