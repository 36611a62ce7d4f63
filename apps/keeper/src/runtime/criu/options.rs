//! What the command lines of checkpoint and restore say.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::message::Options;
use crate::runtime::args::Args;
use crate::runtime::fail::{During, Fail, Result};
use crate::runtime::streams::absolute;

const NEW_NET: u64 = 0x4000_0000;

/// The command line, checked.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) image_path: PathBuf,
    pub(super) work_path: Option<PathBuf>,
    pub(super) parent_path: String,
    pub(super) page_server: Option<(String, i32)>,
    pub(super) pre_dump: bool,
    pub(super) lazy_pages: bool,
    pub(super) leave_running: bool,
    pub(super) status_fd: Option<u32>,
    plain: Options,
}

impl Wanted {
    /// Nothing is made yet.
    pub(super) fn new(args: &Args) -> Result<Self> {
        let image_path = absolute(args.text("image-path").unwrap_or("checkpoint"))?;
        let parent_path = args.text("parent-path").unwrap_or_default();
        if Path::new(parent_path).is_absolute() {
            return Err(Fail::said("--parent-path must be relative"));
        }
        let status_fd: Option<i64> = args.number("status-fd")?;
        let plain = Options {
            leave_running: args.has("leave-running"),
            tcp_established: args.has("tcp-established"),
            tcp_skip_in_flight: args.has("tcp-skip-in-flight"),
            link_remap: args.has("link-remap"),
            ext_unix_sk: args.has("ext-unix-sk"),
            shell_job: args.has("shell-job"),
            file_locks: args.has("file-locks"),
            auto_dedup: args.has("auto-dedup"),
            lazy_pages: args.has("lazy-pages"),
            lsm_profile: args.text("lsm-profile").unwrap_or_default().to_owned(),
            lsm_mount_context: args
                .text("lsm-mount-context")
                .unwrap_or_default()
                .to_owned(),
            cgroups_mode: cgroups_mode(args.text("manage-cgroups-mode").unwrap_or_default())?,
            // Devices of a network and their addresses are whoever's who made them.
            empty_namespaces: NEW_NET,
            ..Options::default()
        };
        for kind in args.all("empty-ns") {
            if kind != "network" {
                return Err(Fail::Said(format!("namespace {kind:?} is not supported")));
            }
        }
        Ok(Self {
            image_path,
            work_path: args.text("work-path").map(absolute).transpose()?,
            parent_path: parent_path.to_owned(),
            page_server: args.text("page-server").map(page_server).transpose()?,
            pre_dump: args.has("pre-dump"),
            lazy_pages: args.has("lazy-pages"),
            leave_running: args.has("leave-running"),
            status_fd: status_fd.and_then(|fd| u32::try_from(fd).ok()),
            plain,
        })
    }

    /// criu's log.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.work_path
            .as_ref()
            .unwrap_or(&self.image_path)
            .join(name)
    }

    /// Opens the directories, made with `make`, and gives the options with them.
    pub(super) fn open(&self, make: bool, log_file: &str) -> Result<(Options, Opened)> {
        if make {
            make_directory(&self.image_path)?;
        }
        if !self.parent_path.is_empty() {
            let parent = self.image_path.join(&self.parent_path);
            let meta = std::fs::metadata(&parent)
                .during("invalid --parent-path: stat", parent.display())?;
            if !meta.is_dir() {
                return Err(Fail::Said(format!(
                    "invalid --parent-path: {}: not a directory",
                    parent.display()
                )));
            }
        }
        if let Some(work) = &self.work_path {
            make_directory(work)?;
        }
        let images = open_directory(&self.image_path)?;
        let work = self.work_path.as_deref().map(open_directory).transpose()?;
        let mut options = self.plain.clone();
        options.images = images.as_raw_fd();
        options.work = work.as_ref().map(AsRawFd::as_raw_fd);
        log_file.clone_into(&mut options.log_file);
        Ok((
            options,
            Opened {
                _images: images,
                _work: work,
            },
        ))
    }
}

/// Held while criu works, which opens them through this process.
#[derive(Debug)]
pub(super) struct Opened {
    _images: OwnedFd,
    _work: Option<OwnedFd>,
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).during("open", path.display())
}

/// What is dumped has all that a process had in memory: nobody else's business.
fn make_directory(path: &Path) -> Result<()> {
    let mut maker = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut maker, 0o700);
    maker
        .recursive(true)
        .create(path)
        .during("mkdir", path.display())
}

/// `criu_cg_mode`
fn cgroups_mode(name: &str) -> Result<u64> {
    Ok(match name {
        "ignore" => 0,
        "soft" => 3,
        "full" => 4,
        "strict" => 5,
        "" => 6,
        _ => return Err(Fail::said("invalid manage-cgroups-mode value")),
    })
}

/// `ADDRESS:PORT`, `[ADDRESS]:PORT` for one with colons.
fn page_server(text: &str) -> Result<(String, i32)> {
    let form = || Fail::said("Use --page-server ADDRESS:PORT to specify page server");
    let (address, port) = text.rsplit_once(':').ok_or_else(form)?;
    let address = match address.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').ok_or_else(form)?,
        None if address.contains(':') => return Err(form()),
        None => address,
    };
    if address.is_empty() || port.is_empty() {
        return Err(form());
    }
    match port.parse::<u16>() {
        Ok(port) => Ok((address.to_owned(), port.into())),
        Err(_) => Err(Fail::said("Invalid port number")),
    }
}

/// `--status-fd` for writing; by way of /proc, as the number alone gives no right to it here.
pub(super) fn status_file(fd: u32) -> Result<File> {
    let invalid = |why: &str| Fail::Said(format!("invalid --status-fd argument {fd}: {why}"));
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))
        .map_err(|_| invalid("bad file descriptor"))?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|text| u32::from_str_radix(text.trim(), 8).ok());
    if flags.unwrap_or_default() & 3 == 0 {
        return Err(invalid("not writable"));
    }
    File::options()
        .write(true)
        .open(format!("/proc/self/fd/{fd}"))
        .map_err(|e| invalid(&e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::commands;

    fn wanted(line: &str) -> Result<Wanted> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let all = commands::COMMANDS;
        let command = all.iter().find(|c| c.name == "checkpoint").unwrap();
        Wanted::new(&Args::parse(&words, command.options, false)?)
    }

    #[test]
    fn page_servers() {
        let got = wanted("--page-server 127.0.0.1:27 x").unwrap();
        assert_eq!(got.page_server, Some(("127.0.0.1".into(), 27)));
        let got = wanted("--page-server [::1]:27 x").unwrap();
        assert_eq!(got.page_server, Some(("::1".into(), 27)));
        for bad in ["a", "a:", ":1", "::1:2", "a:x", "a:70000", "[a:1"] {
            assert!(wanted(&format!("--page-server {bad} x")).is_err(), "{bad}");
        }
    }

    #[test]
    fn refused() {
        let text = |line| wanted(line).unwrap_err().to_string();
        assert_eq!(text("--parent-path /a x"), "--parent-path must be relative");
        assert_eq!(
            text("--manage-cgroups-mode x x"),
            "invalid manage-cgroups-mode value"
        );
        assert_eq!(
            text("--empty-ns pid x"),
            "namespace \"pid\" is not supported"
        );
        assert!(wanted("--empty-ns network --status-fd -1 x").is_ok());
    }

    #[test]
    fn directories_are_made_for_a_dump() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("a/b");
        let line = format!("--image-path {} --parent-path ../c x", image.display());
        let wanted = wanted(&line).unwrap();
        let error = wanted.open(false, "x.log").unwrap_err().to_string();
        assert!(error.contains("../c"), "{error}");
        std::fs::create_dir_all(dir.path().join("a/c")).unwrap();
        let (options, _opened) = wanted.open(true, "x.log").unwrap();
        assert_eq!(wanted.log("x.log"), image.join("x.log"));
        assert_eq!((options.log_file.as_str(), options.work), ("x.log", None));
        assert!(image.is_dir());
    }

    #[test]
    fn status_descriptors() {
        use std::os::fd::AsRawFd;
        let (read, write) = std::io::pipe().unwrap();
        assert!(status_file(write.as_raw_fd() as u32).is_ok());
        assert!(status_file(read.as_raw_fd() as u32).is_err());
        assert!(status_file(9999).is_err());
    }
}
