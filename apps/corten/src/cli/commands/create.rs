//! `create`, and making a container for `run`.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use dockerapi::CreateBody;
use oci::Reference;

use super::pull;
use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome, os_text};
use crate::cli::{options, out};

/// `create`.
pub(super) async fn run(call: &Call) -> Outcome {
    let body = body(call)?;
    let id = create(call, &body).await?;
    out::line(&id);
    Ok(())
}

/// The body asked for, with failures as `run` and `create` show them.
pub(super) fn body(call: &Call) -> Outcome<CreateBody> {
    let flags = &call.flags;
    let pull = flags.text("pull");
    if !matches!(pull, "always" | "missing" | "never") {
        return Err(with_help(
            call,
            &format!(
                "invalid pull option: '{pull}': must be one of \"always\", \"missing\" or \"never\""
            ),
        ));
    }
    let mut body =
        options::body::build(flags, &flags.args).map_err(|text| with_help(call, &text))?;
    for (name, value) in proxies(call) {
        let env = body.config.env.get_or_insert_default();
        if !env
            .iter()
            .any(|variable| variable.split('=').next() == Some(&name))
        {
            env.push(format!("{name}={value}"));
        }
    }
    if body.config.tty {
        let (height, width) = crate::cli::tty::size();
        body.host_config.console_size = [height.into(), width.into()];
    }
    Ok(body)
}

/// `docker: …` with the hint at `--help`, exit code 125.
pub(super) fn with_help(call: &Call, text: &str) -> Failure {
    let program = call.app.program;
    let name = call.name.split(' ').next_back().unwrap_or("run");
    Failure::new(format!(
        "{program}: {text}\n\nRun '{program} {name} --help' for more information"
    ))
    .with_code(125)
}

/// Proxy variables that the configuration gives containers.
fn proxies(call: &Call) -> Vec<(String, String)> {
    let config = call.app.config();
    let Some(entry) = config.entry("proxies", "default") else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (key, name) in [
        ("httpProxy", "HTTP_PROXY"),
        ("httpsProxy", "HTTPS_PROXY"),
        ("noProxy", "NO_PROXY"),
        ("ftpProxy", "FTP_PROXY"),
        ("allProxy", "ALL_PROXY"),
    ] {
        if let Some(value) = entry.get(key).and_then(|value| value.as_str()) {
            all.push((name.to_owned(), value.to_owned()));
            all.push((name.to_lowercase(), value.to_owned()));
        }
    }
    all
}

/// Makes the container, pulling its image as `--pull` says, and gives its ID.
pub(super) async fn create(call: &Call, body: &CreateBody) -> Outcome<String> {
    let flags = &call.flags;
    let cid_file = CidFile::open(flags.text("cidfile"))?;
    let image = &body.config.image;
    // What is no reference may still be an ID, or the engine's to refuse.
    let reference = parse_reference(image)?;
    let platform = match flags.text("platform") {
        "" => std::env::var("DOCKER_DEFAULT_PLATFORM").unwrap_or_default(),
        platform => platform.to_owned(),
    };
    if !platform.is_empty()
        && let Err(error) = platform.parse::<oci::Platform>()
    {
        return Err(Failure::new(format!(
            "error parsing specified platform: {error}"
        )));
    }
    let client = call.app.client().await?;
    let policy = flags.text("pull");
    let quiet = flags.on("quiet");
    if policy == "always"
        && let Some(reference) = &reference
    {
        pull::for_create(call, reference, &platform, quiet).await?;
    }
    let name = flags.text("name");
    let created = match (
        client.container_create(body, name, &platform).await,
        &reference,
    ) {
        (Err(error), Some(reference))
            if policy == "missing" && error.is_not_found() && names_image(&error) =>
        {
            if !quiet {
                out::error(&format!(
                    "Unable to find image '{}' locally",
                    reference.clone().or_latest().familiar()
                ));
            }
            pull::for_create(call, reference, &platform, quiet).await?;
            client.container_create(body, name, &platform).await?
        }
        (created, _) => created?,
    };
    for warning in &created.warnings {
        out::error(&format!("WARNING: {warning}"));
    }
    cid_file.write(&created.id)?;
    Ok(created.id)
}

fn names_image(error: &client::Error) -> bool {
    matches!(error, client::Error::Daemon { message, .. } if message.to_lowercase().contains("image"))
}

/// A reference; `None` for what can only be an ID.
fn parse_reference(image: &str) -> Outcome<Option<Reference>> {
    match image.parse::<Reference>() {
        Ok(reference) => Ok(Some(reference)),
        Err(oci::reference::InvalidReference::LooksLikeId(_)) => Ok(None),
        Err(error) => Err(Failure::new(reference_text(image, &error))),
    }
}

/// docker names the whole repository where it complains about capitals.
pub(super) fn reference_text(image: &str, error: &oci::reference::InvalidReference) -> String {
    match error {
        oci::reference::InvalidReference::Uppercase(name) if !name.contains('/') => {
            let _ = image;
            format!("invalid reference format: repository name (library/{name}) must be lowercase")
        }
        error => error.to_string(),
    }
}

/// `--cidfile`: made before the container, so that a wrong path costs nothing, and removed again
/// when there is no ID to write.
struct CidFile {
    path: Option<PathBuf>,
    file: Option<std::fs::File>,
    written: bool,
}

impl CidFile {
    fn open(path: &str) -> Outcome<Self> {
        if path.is_empty() {
            return Ok(Self {
                path: None,
                file: None,
                written: true,
            });
        }
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o666)
            .open(path)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => Failure::new(format!(
                    "container ID file found, make sure the other container isn't running or delete {path}"
                )),
                _ => Failure::new(format!(
                    "failed to create the container ID file: open {path}: {}",
                    os_text(&error)
                )),
            })?;
        Ok(Self {
            path: Some(path.into()),
            file: Some(file),
            written: false,
        })
    }

    fn write(mut self, id: &str) -> Outcome {
        if let Some(mut file) = self.file.take() {
            file.write_all(id.as_bytes()).map_err(|error| {
                Failure::new(format!(
                    "failed to write the container ID ({id}) to file: {}",
                    os_text(&error)
                ))
            })?;
        }
        self.written = true;
        Ok(())
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if let (false, Some(path)) = (self.written, &self.path) {
            // It may be gone already.
            let _ = std::fs::remove_file(path);
        }
    }
}
