//! `cp`: files into and out of containers.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use archive::{Pack, Target};
use client::{Body, BodySender, Client, Query};
use tokio::sync::mpsc;

use super::image::send_file;
use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome, os_text};
use crate::cli::paths::{self, Entry};
use crate::cli::{out, units};

/// Go's `os.FileMode` bits.
const MODE_DIR: u32 = 1 << 31;
const MODE_SYMLINK: u32 = 1 << 27;
const MODE_DEVICE: u32 = 1 << 26;
const MODE_IRREGULAR: u32 = 1 << 19;
/// Bytes in one piece of an archive.
const CHUNK: usize = 64 << 10;

/// One end of a copy.
#[derive(Debug, Default)]
struct End {
    path: String,
    exists: bool,
    is_dir: bool,
    /// Name that the source's entry gets instead of its own.
    rename: Option<OsString>,
}

/// `cp`.
pub(super) async fn run(call: &Call) -> Outcome {
    let [source, target] = &call.flags.args[..] else {
        return Err("two paths are needed".into());
    };
    if source.is_empty() {
        return Err("source can not be empty".into());
    }
    if target.is_empty() {
        return Err("destination can not be empty".into());
    }
    let quiet = if call.flags.changed("quiet") {
        call.flags.on("quiet")
    } else {
        !out::is_terminal()
    };
    let done = match (place(source), place(target)) {
        (Some(_), Some(_)) => return Err("copying between containers is not supported".into()),
        (None, None) => return Err("must specify at least one container source".into()),
        (Some((container, path)), None) => from_container(call, container, path, target).await?,
        (None, Some((container, path))) => to_container(call, source, container, path).await?,
    };
    if let Some((bytes, to)) = done.filter(|_| !quiet) {
        #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
        let size = units::decimal_size(bytes as f64, 3, "");
        out::error(&format!("Successfully copied {size} to {to}"));
    }
    Ok(())
}

/// `CONTAINER:PATH`; absolute paths and those that begin with a dot are the host's.
fn place(text: &str) -> Option<(&str, &str)> {
    if text.starts_with('/') {
        return None;
    }
    let (container, path) = text.split_once(':')?;
    (!container.is_empty() && !container.starts_with('.')).then_some((container, path))
}

/// How much was copied, and where to.
type Copied = Option<(u64, String)>;

async fn from_container(call: &Call, container: &str, path: &str, target: &str) -> Outcome<Copied> {
    let to = if target == "-" {
        target.to_owned()
    } else {
        paths::absolute(target)?
    };
    writable(&to)?;
    let client = call.app.client().await?;
    let mut path = path.to_owned();
    let mut rename = None;
    if call.flags.on("follow-link")
        && let Ok(stat) = client.path_stat(container, &path).await
        && stat.mode & MODE_SYMLINK != 0
    {
        let led = paths::relative_to(&path, &stat.link_target);
        (path, rename) = paths::renamed(&path, led);
    }
    let (stat, mut response) = client.archive_get(container, &path).await?;
    if to == "-" {
        while let Some(chunk) = response.chunk().await? {
            out::write(&chunk);
        }
        return Ok(None);
    }
    let is_dir = stat.mode & MODE_DIR != 0;
    let source = End {
        path,
        exists: true,
        is_dir,
        rename,
    };
    let (dir, name) = prepare(&source, &local_target(&to)?)?;
    let base = source
        .rename
        .clone()
        .unwrap_or_else(|| paths::split(&source.path).base.into());
    // What follows from a link comes under the link's own name, and may go to yet another.
    let own: OsString = paths::split(&source.path).base.into();
    let wanted = name.or((own != base).then_some(base));
    let (sender, receiver) = mpsc::channel(4);
    let unpacked =
        tokio::task::spawn_blocking(move || unpack(receiver, Path::new(&dir), &own, wanted));
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await? {
        bytes += chunk.len() as u64;
        if sender.send(chunk.to_vec()).await.is_err() {
            break;
        }
    }
    drop(sender);
    match unpacked.await {
        Ok(result) => result.map_err(|error| Failure::new(error.to_string()))?,
        Err(error) => return Err(Failure::new(error.to_string())),
    }
    Ok(Some((bytes, to)))
}

fn unpack(
    chunks: mpsc::Receiver<Vec<u8>>,
    dir: &Path,
    own: &OsStr,
    wanted: Option<OsString>,
) -> Result<(), archive::Error> {
    let failed = |source| archive::Error::Write {
        path: dir.display().to_string(),
        source,
    };
    let root = std::fs::File::open(dir).map_err(failed)?;
    let owner = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let kind = Target::Files {
        keep_types: true,
        owner: Some(owner),
    };
    let mut reader = Chunks {
        chunks,
        current: Vec::new(),
        at: 0,
    };
    let rename = wanted.as_deref().map(|wanted| (own, wanted));
    archive::apply_at(&mut reader, &root.as_fd(), kind, rename)?;
    // The end of the stream is behind the end of the archive.
    let _ = std::io::copy(&mut reader, &mut std::io::sink());
    Ok(())
}

/// Chunks of an answer as a reader, for code that blocks.
struct Chunks {
    chunks: mpsc::Receiver<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.current.len() {
            match self.chunks.blocking_recv() {
                Some(chunk) => (self.current, self.at) = (chunk, 0),
                None => return Ok(0),
            }
        }
        let rest = &self.current[self.at..];
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

/// The host's end of a copy from a container: links are followed to what shall be written.
fn local_target(path: &str) -> Outcome<End> {
    const LINKS: usize = 10;
    let failed = |verb: &str, path: &str, error: &std::io::Error| {
        Failure::new(format!("{verb} {path}: {}", os_text(error)))
    };
    let mut path = path.to_owned();
    for _ in 0..=LINKS {
        match std::fs::symlink_metadata(&path) {
            Ok(facts) if facts.is_symlink() => {
                let led =
                    std::fs::read_link(&path).map_err(|error| failed("readlink", &path, &error))?;
                path = paths::relative_to(&path, &led.to_string_lossy());
            }
            Ok(facts) => {
                return Ok(End {
                    exists: true,
                    is_dir: facts.is_dir(),
                    path,
                    rename: None,
                });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let parent = paths::split(&path).dir;
                let facts =
                    std::fs::metadata(&parent).map_err(|error| failed("stat", &parent, &error))?;
                if !facts.is_dir() {
                    return Err("not a directory".into());
                }
                return Ok(End {
                    path,
                    ..End::default()
                });
            }
            Err(error) => return Err(failed("lstat", &path, &error)),
        }
    }
    Err(Failure::new(format!("too many symlinks in {path:?}")))
}

/// docker's `ValidateOutputPath`.
fn writable(path: &str) -> Outcome {
    let dir = paths::split(path).dir;
    if dir != "." && std::fs::metadata(&dir).is_err() {
        return Err(Failure::new(format!(
            "invalid output path: directory {dir:?} does not exist"
        )));
    }
    if let Ok(facts) = std::fs::metadata(path)
        && !facts.is_dir()
        && !facts.is_file()
    {
        return Err(Failure::new(format!(
            "invalid output path: {path:?} must be a directory or a regular file: got a device"
        )));
    }
    Ok(())
}

async fn to_container(call: &Call, source: &str, container: &str, path: &str) -> Outcome<Copied> {
    let local = if source == "-" {
        None
    } else {
        Some(paths::absolute(source)?)
    };
    let client = call.app.client().await?;
    let target = container_target(client, container, path).await?;
    let query = Query::new()
        .with_flag("copyUIDGID", call.flags.on("archive"))
        .with("noOverwriteDirNonDir", "true");
    let shown = format!("{container}:{}", target.path);
    let Some(local) = local else {
        if !target.is_dir {
            return Err(Failure::new(format!(
                "destination \"{container}:{path}\" must be a directory"
            )));
        }
        let body = send_file(None, "application/x-tar");
        let query = query.with("path", &target.path);
        client.archive_put(container, &query, body).await?;
        return Ok(None);
    };
    let source = local_source(&local, call.flags.on("follow-link"))?;
    let (dir, name) = prepare(&source, &target)?;
    let Entry { dir: from, base } = paths::split(&source.path);
    let rename = match name.or(source.rename) {
        Some(name) => name,
        // The directory itself: what is in it goes where the rest goes.
        None if base == "." => OsString::new(),
        None => OsString::from(&base),
    };
    let (sender, body) = Body::chunks("application/x-tar");
    let packed = tokio::task::spawn_blocking(move || pack(sender, &from, base, rename));
    let query = query.with("path", dir);
    client.archive_put(container, &query, body).await?;
    let bytes = packed
        .await
        .map_err(|error| Failure::new(error.to_string()))?
        .unwrap_or_default();
    Ok(Some((bytes, shown)))
}

/// The container's end: a link there is followed once, as docker does.
async fn container_target(client: &Client, container: &str, path: &str) -> Outcome<End> {
    let mut end = End {
        path: path.to_owned(),
        ..End::default()
    };
    let mut stat = client.path_stat(container, path).await;
    if let Ok(found) = &stat
        && found.mode & MODE_SYMLINK != 0
    {
        end.path = paths::relative_to(path, &found.link_target);
        stat = client.path_stat(container, &end.path).await;
    }
    // Without an answer the parent may still be there.
    let Ok(found) = stat else {
        return Ok(end);
    };
    let odd = match found.mode {
        mode if mode & MODE_DEVICE != 0 => Some("got a device"),
        mode if mode & MODE_IRREGULAR != 0 => Some("got an irregular file"),
        _ => None,
    };
    if let Some(odd) = odd {
        return Err(Failure::new(format!(
            "destination \"{container}:{path}\" must be a directory or a regular file: {odd}"
        )));
    }
    end.exists = true;
    end.is_dir = found.mode & MODE_DIR != 0;
    Ok(end)
}

/// The host's end of a copy into a container.
fn local_source(path: &str, follow: bool) -> Outcome<End> {
    let failed = |path: &str, error: &std::io::Error| {
        Failure::new(format!("lstat {path}: {}", os_text(error)))
    };
    let real = |path: &str| {
        std::fs::canonicalize(path)
            .map(|real| real.to_string_lossy().into_owned())
            .map_err(|error| failed(path, &error))
    };
    let (resolved, rename) = if follow {
        paths::renamed(path, real(path)?)
    } else {
        let at = path.rfind('/').map_or(0, |at| at + 1);
        let (dir, base) = path.split_at(at);
        let resolved = format!("{}/{base}", real(if dir.is_empty() { "." } else { dir })?);
        (resolved, None)
    };
    let facts = std::fs::symlink_metadata(&resolved).map_err(|error| failed(&resolved, &error))?;
    Ok(End {
        is_dir: facts.is_dir(),
        path: resolved,
        exists: true,
        rename,
    })
}

/// Where an archive of `source` is unpacked for `target`, and the name that its first entry must
/// get there, if any.
fn prepare(source: &End, target: &End) -> Outcome<(String, Option<OsString>)> {
    let Entry { dir, base } = paths::split(&target.path);
    match (target.exists, target.is_dir, source.is_dir) {
        (true, true, _) => Ok((target.path.clone(), None)),
        (true, false, true) => Err("cannot copy directory".into()),
        (false, _, false) if paths::says_directory(&target.path) => Err("no such directory".into()),
        _ => Ok((dir, Some(base.into()))),
    }
}

fn pack(sender: BodySender, dir: &str, base: String, rename: OsString) -> Option<u64> {
    let fault = |error: archive::Error| std::io::Error::other(error.to_string());
    let packed = std::fs::File::open(dir).and_then(|root| {
        let pack = Pack {
            path: PathBuf::from(base),
            name: rename,
            user_attributes: true,
            ..Pack::default()
        };
        let writer = Pieces {
            sender: sender.clone(),
            buffer: Vec::with_capacity(CHUNK),
            sent: 0,
        };
        let mut writer = archive::pack(&root.as_fd(), &pack, writer).map_err(fault)?;
        writer.flush()?;
        Ok(writer.sent)
    });
    match packed {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            sender.blocking_abort(error);
            None
        }
    }
}

/// A request's body as a writer, for code that blocks.
struct Pieces {
    sender: BodySender,
    buffer: Vec<u8>,
    sent: u64,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let piece = std::mem::take(&mut self.buffer);
        self.sent += piece.len() as u64;
        if piece.is_empty() || self.sender.blocking_send(piece.into()) {
            return Ok(());
        }
        // The engine has answered: its answer says why.
        Err(std::io::ErrorKind::BrokenPipe.into())
    }
}
