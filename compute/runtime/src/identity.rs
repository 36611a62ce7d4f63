//! Who the process is: names looked up in the root's own /etc/passwd and /etc/group.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use oci::runtime::User;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use crate::error::{Context, errno_text};
use crate::{Error, Identity, Result};

/// Largest /etc/passwd or /etc/group read.
const MAX_FILE: usize = 16 << 20;
const MAX_ID: u32 = i32::MAX as u32;

/// Resolved credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

impl Who {
    /// As a specification has it; what is not looked up is `default`'s.
    pub(crate) fn user(self, default: &User) -> User {
        User {
            uid: self.uid,
            gid: self.gid,
            umask: default.umask,
            additional_gids: self.groups,
        }
    }
}

/// Runs inside the container's root.
pub(crate) fn resolve(user: &User, identity: Option<Identity<'_>>) -> Result<Who> {
    let here = |path| read(CWD, path, ResolveFlags::empty());
    let passwd = here("/etc/passwd")?;
    let Some(identity) = identity else {
        let home = passwd_entries(&passwd)
            .find(|p| p.uid == user.uid)
            .map(|p| p.home.to_owned());
        return Ok(Who {
            uid: user.uid,
            gid: user.gid,
            groups: user.additional_gids.clone(),
            home: home.unwrap_or_default(),
        });
    };
    resolve_in(user, &identity, &passwd, &here("/etc/group")?)
}

/// Runs outside: the files are those of a root that need not be the caller's.
pub(crate) fn resolve_below(
    user: &User,
    identity: &Identity<'_>,
    root: BorrowedFd<'_>,
) -> Result<Who> {
    let there = |path| read(root, path, ResolveFlags::IN_ROOT);
    resolve_in(
        user,
        identity,
        &there("/etc/passwd")?,
        &there("/etc/group")?,
    )
}

/// By the texts of the two files.
pub(crate) fn resolve_in(
    user: &User,
    identity: &Identity<'_>,
    passwd: &str,
    group: &str,
) -> Result<Who> {
    let mut who = look_up(user, identity.user, passwd, group)?;
    // The primary group belongs to the supplementary ones, or dropping it would gain access.
    who.groups.insert(0, who.gid);
    who.groups.extend(&user.additional_gids);
    for name in identity.extra_groups {
        who.groups.push(extra_group(name, group)?);
    }
    let mut seen = std::collections::HashSet::new();
    who.groups.retain(|gid| seen.insert(*gid));
    Ok(who)
}

/// One line of passwd, as far as it is used.
struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// One line of group.
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn look_up(default: &User, spec: &str, passwd: &str, group: &str) -> Result<Who> {
    let (user, group_arg) = spec.split_once(':').unwrap_or((spec, ""));
    let number: Option<i64> = user.parse().ok();
    let found = passwd_entries(passwd).find(|p| match (user, number) {
        ("", _) => p.uid == default.uid,
        (_, Some(n)) => i64::from(p.uid) == n,
        (name, None) => p.name == name,
    });
    let mut who = Who {
        uid: default.uid,
        gid: default.gid,
        ..Who::default()
    };
    match (&found, number) {
        (Some(p), _) => {
            (who.uid, who.gid, who.home) = (p.uid, p.gid, p.home.to_owned());
        }
        (None, _) if user.is_empty() => {}
        (None, Some(n)) => who.uid = id(n)?,
        (None, None) => {
            return Err(Error::invalid(format!(
                "unable to find user {user}: no matching entries in passwd file"
            )));
        }
    }
    if !group_arg.is_empty() {
        who.gid = primary_group(group_arg, group)?;
    } else if let Some(p) = found {
        let member = |g: &Group<'_>| g.members.split(',').any(|m| m == p.name);
        who.groups = group_entries(group).filter(member).map(|g| g.gid).collect();
    }
    Ok(who)
}

fn primary_group(arg: &str, group: &str) -> Result<u32> {
    match (find_group(arg, group), arg.parse::<i64>()) {
        (Some(gid), _) => Ok(gid),
        (None, Ok(n)) => id(n),
        (None, Err(_)) => Err(Error::invalid(format!(
            "unable to find group {arg}: no matching entries in group file"
        ))),
    }
}

fn extra_group(arg: &str, group: &str) -> Result<u32> {
    match (find_group(arg, group), arg.parse::<i64>()) {
        (Some(gid), _) => Ok(gid),
        (None, Ok(n)) => id(n),
        (None, Err(_)) => Err(Error::invalid(format!(
            "Unable to find group {arg}: no matching entries in group file"
        ))),
    }
}

fn find_group(arg: &str, group: &str) -> Option<u32> {
    let number: Option<u32> = arg.parse().ok();
    group_entries(group)
        .find(|g| g.name == arg || number == Some(g.gid))
        .map(|g| g.gid)
}

fn id(n: i64) -> Result<u32> {
    match u32::try_from(n) {
        Ok(n) if n <= MAX_ID => Ok(n),
        _ => Err(Error::invalid(format!(
            "uids and gids must be in range 0-{MAX_ID}"
        ))),
    }
}

fn passwd_entries(text: &str) -> impl Iterator<Item = Passwd<'_>> {
    text.lines().filter_map(|line| {
        let mut f = line.trim().split(':');
        let name = f.next().filter(|n| !n.is_empty() && !n.starts_with('#'))?;
        let (uid, gid) = (f.nth(1)?, f.next()?);
        Some(Passwd {
            name,
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home: f.nth(1).unwrap_or_default(),
        })
    })
}

fn group_entries(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut f = line.trim().split(':');
        let name = f.next().filter(|n| !n.is_empty() && !n.starts_with('#'))?;
        Some(Group {
            name,
            gid: f.nth(1)?.parse().ok()?,
            members: f.next().unwrap_or_default(),
        })
    })
}

/// The file's text; empty when there is none or it is not a regular file.
fn read(root: BorrowedFd<'_>, path: &str, resolve: ResolveFlags) -> Result<String> {
    // NONBLOCK: an image may have put a pipe there.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    // Nor over magic links, which lead out of the container while the host's files are open.
    let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
    let at = Path::new(path);
    let fd = match sys::rooted::open_with(root, at, flags, Mode::empty(), resolve) {
        Ok(fd) => fd,
        Err(sys::Errno::NOENT | sys::Errno::NOTDIR | sys::Errno::LOOP) => return Ok(String::new()),
        Err(e) => return Err(Error::internal(format!("open {path}: {}", errno_text(e)))),
    };
    let stat = rustix::fs::fstat(&fd).context(|| format!("stat {path}"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(String::new());
    }
    let bytes = sys::rooted::read_all(fd.as_fd(), MAX_FILE).context(|| format!("read {path}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n# no\nweb:x:33:34::/var/www:/bin/false\nbad\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\naudio:x:29:web,root\nvideo:x:44:web\n";

    fn find(spec: &str) -> Result<Who> {
        look_up(&User::default(), spec, PASSWD, GROUP)
    }

    fn who(uid: u32, gid: u32, groups: &[u32], home: &str) -> Who {
        Who {
            uid,
            gid,
            groups: groups.to_vec(),
            home: home.into(),
        }
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(find("").unwrap(), who(0, 0, &[29], "/root"));
        assert_eq!(find("web").unwrap(), who(33, 34, &[29, 44], "/var/www"));
        assert_eq!(find("33").unwrap(), who(33, 34, &[29, 44], "/var/www"));
        assert_eq!(find("web:video").unwrap(), who(33, 44, &[], "/var/www"));
        assert_eq!(find("1000").unwrap(), who(1000, 0, &[], ""));
        assert_eq!(find("1000:2000").unwrap(), who(1000, 2000, &[], ""));
        assert_eq!(find(":video").unwrap(), who(0, 44, &[], "/root"));
    }

    #[test]
    fn files_of_another_root() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        std::fs::write(dir.path().join("names"), PASSWD).unwrap();
        std::os::unix::fs::symlink("/../names", etc.join("passwd")).unwrap();
        // One that nobody writes to: to be opened without waiting.
        let pipe = etc.join("group");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        let find = |user| {
            let identity = Identity {
                user,
                extra_groups: &[],
            };
            resolve_below(&User::default(), &identity, root.as_fd())
        };
        assert_eq!(find("web").unwrap().groups, [34]);
        find("web:www").unwrap_err();
    }

    #[test]
    fn failures() {
        let text = |spec| find(spec).unwrap_err().message;
        assert_eq!(
            text("foo"),
            "unable to find user foo: no matching entries in passwd file"
        );
        assert_eq!(
            text("web:nope"),
            "unable to find group nope: no matching entries in group file"
        );
        assert_eq!(
            text("2147483648"),
            "uids and gids must be in range 0-2147483647"
        );
        assert_eq!(text("-1"), "uids and gids must be in range 0-2147483647");
    }
}
