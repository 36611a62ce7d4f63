//! From a command line to execve, with the error texts that Go's os/exec has made familiar.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use oci::runtime::Process;
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};
use sys::Errno;

use crate::error::errno_text;
use crate::identity::Who;
use crate::{Error, Kind, Result};

/// Ready to run.
#[derive(Debug)]
pub(crate) struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

/// Makes the working directory and what is missing above it.
pub(crate) fn create_cwd(cwd: &str) -> Result<()> {
    match rustix::fs::stat(cwd) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => return Ok(()),
        Ok(_) => {
            return Err(Error::invalid(format!(
                "Cannot mkdir: {cwd} is not a directory"
            )));
        }
        Err(_) => {}
    }
    // Not over magic links: /proc/self/fd still leads to the host's directories.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/", flags, Mode::empty())
        .and_then(|root| {
            let mode = Mode::from_raw_mode(0o755);
            sys::rooted::create_dir_all(root.as_fd(), Path::new(cwd), mode)
        })
        .map(drop)
        .map_err(|e| Error::internal(format!("mkdir {cwd}: {}", errno_text(e))))
}

/// Enters the working directory, and makes sure that it is inside the root.
pub(crate) fn chdir(cwd: &str) -> Result<()> {
    rustix::process::chdir(cwd).map_err(|e| {
        Error::internal(format!(
            "chdir to cwd ({cwd:?}) set in config.json failed: {}",
            errno_text(e)
        ))
    })?;
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.as_bytes().first() == Some(&b'/') => Ok(()),
        // The kernel says "(unreachable)" (or ENOENT) for what is not below the root.
        _ => Err(Error::internal(
            "current working directory is outside of container mount namespace root -- \
             possible container breakout detected",
        )),
    }
}

/// Finds the program (as the user it will run as) and lays out its arguments.
pub(crate) fn prepare(process: &Process, who: &Who, init: bool) -> Result<Program> {
    let name = process.args.first().map(String::as_str).unwrap_or_default();
    let mut env = Vec::with_capacity(process.env.len() + 1);
    for (n, pair) in process.env.iter().enumerate() {
        // Of several values of one name the last counts, and most programs take the first.
        let name = pair.split('=').next().unwrap_or_default();
        let later = process.env.iter().skip(n + 1);
        if !later.into_iter().any(|p| p.split('=').next() == Some(name)) {
            env.push(c_string(pair, "env")?);
        }
    }
    let has_home = |e: &CString| e.as_bytes().starts_with(b"HOME=") && e.as_bytes().len() > 5;
    if !env.iter().any(has_home) {
        env.retain(|e| !e.as_bytes().starts_with(b"HOME="));
        let home = if who.home.is_empty() { "/" } else { &who.home };
        env.push(c_string(&format!("HOME={home}"), "env")?);
    }
    let mut args = Vec::with_capacity(process.args.len() + 2);
    if init {
        args.extend([c"init".to_owned(), c"--".to_owned()]);
    }
    for arg in &process.args {
        args.push(c_string(arg, "args")?);
    }
    let path = match init {
        // The init looks for the program itself, once it reaps.
        true => CString::default(),
        false => c_string(&look_path(name, &process.env)?, "args")?,
    };
    Ok(Program { path, args, env })
}

impl Program {
    /// What it is given, HOME included.
    pub(crate) fn environment(&self) -> &[CString] {
        &self.env
    }

    /// Runs it, from `init` when there is one; returns only on failure.
    pub(crate) fn execute(&self, init: Option<BorrowedFd<'_>>) -> Error {
        let (errno, shown) = match init {
            Some(fd) => (sys::exec::fexecve(fd, &self.args, &self.env), "init".into()),
            None => (
                sys::exec::execve(&self.path, &self.args, &self.env),
                self.path.to_string_lossy(),
            ),
        };
        let kind = match errno {
            Errno::NOENT | Errno::NOTDIR => Kind::CommandNotFound,
            _ => Kind::CannotInvoke,
        };
        Error::new(kind, format!("exec {shown}: {}", errno_text(errno)))
    }
}

fn c_string(text: &str, what: &str) -> Result<CString> {
    CString::new(text)
        .map_err(|_| Error::invalid(format!("process.{what} contains a NUL byte: {text:?}")))
}

/// The file to run for `name`.
fn look_path(name: &str, env: &[String]) -> Result<String> {
    let fail = |kind, text: String| Err(Error::new(kind, format!("exec: {name:?}: {text}")));
    if name.contains('/') {
        return match executable(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(Problem::Stat(e)) => {
                let kind = match e {
                    Errno::ACCESS => Kind::CannotInvoke,
                    _ => Kind::CommandNotFound,
                };
                fail(kind, format!("stat {name}: {}", errno_text(e)))
            }
            Err(Problem::Cannot(text)) => fail(Kind::CannotInvoke, text),
        };
    }
    let path = env
        .iter()
        .rev()
        .find_map(|e| e.strip_prefix("PATH="))
        .unwrap_or_default();
    for dir in path.split(':') {
        let dir = if dir.is_empty() { "." } else { dir };
        let candidate = format!("{}/{name}", dir.trim_end_matches('/'));
        if !name.is_empty() && executable(&candidate).is_ok() {
            if !candidate.starts_with('/') {
                let text = "cannot run executable found relative to current directory";
                return fail(Kind::CannotInvoke, text.into());
            }
            return Ok(candidate);
        }
    }
    fail(
        Kind::CommandNotFound,
        "executable file not found in $PATH".into(),
    )
}

enum Problem {
    Stat(Errno),
    Cannot(String),
}

fn executable(path: &str) -> std::result::Result<(), Problem> {
    let stat = rustix::fs::stat(path).map_err(Problem::Stat)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Problem::Cannot("is a directory".into()));
    }
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Ok(()),
        // A filter that is already loaded may not know the call; execve will tell.
        Err(Errno::NOSYS | Errno::PERM) if stat.st_mode & 0o111 != 0 => Ok(()),
        Err(_) => Err(Problem::Cannot("permission denied".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(name: &str, path: &str) -> std::result::Result<String, (Kind, String)> {
        look_path(name, &[format!("PATH={path}")]).map_err(|e| (e.kind, e.message))
    }

    #[test]
    fn texts_and_kinds() {
        assert_eq!(look("sh", "/nowhere:/bin").unwrap(), "/bin/sh");
        assert_eq!(
            look("no-such", "/bin").unwrap_err(),
            (
                Kind::CommandNotFound,
                "exec: \"no-such\": executable file not found in $PATH".into()
            )
        );
        assert_eq!(
            look("/no/such", "").unwrap_err(),
            (
                Kind::CommandNotFound,
                "exec: \"/no/such\": stat /no/such: no such file or directory".into()
            )
        );
        assert_eq!(
            look("/", "").unwrap_err(),
            (Kind::CannotInvoke, "exec: \"/\": is a directory".into())
        );
        assert_eq!(
            look("/etc/passwd", "").unwrap_err(),
            (
                Kind::CannotInvoke,
                "exec: \"/etc/passwd\": permission denied".into()
            )
        );
        assert!(look("", "/bin").is_err());
    }
}
