//! Attributes of bind mounts, as mount(2) gives them with `MS_REMOUNT | MS_BIND`.
//!
//! A bind mount without a word about its flags keeps those of what it is of. One word is enough for
//! the flags to be those that are named and no others; only the mode of access times stays when
//! nothing is said of it. That is what runc and crun do, and so what engines write.
//!
//! A container in a user namespace gets no mount that shows more than the host's: flags that the
//! host has set stay, and asking to take one away is refused, as the kernel does where such a mount
//! is made inside of that namespace (mount_namespaces(7), "restrictions on mount namespaces").

use std::os::fd::{AsFd, OwnedFd};

use sys::Errno;
use sys::mount as a;
use sys::mount::MountAttr;

use crate::mounts::{Problem, Step, at};
use crate::options::{MS_NOSYMFOLLOW, Options};

/// Flags with the attributes they stand for, and whether the kernel locks them.
const PLAIN: [(u64, u64, bool); 5] = [
    (libc::MS_RDONLY, a::RDONLY, true),
    (libc::MS_NOSUID, a::NOSUID, true),
    (libc::MS_NODEV, a::NODEV, true),
    (libc::MS_NOEXEC, a::NOEXEC, true),
    (MS_NOSYMFOLLOW, a::NOSYMFOLLOW, false),
];

/// Flags about access times.
const TIMES: u64 =
    libc::MS_NOATIME | libc::MS_NODIRATIME | libc::MS_RELATIME | libc::MS_STRICTATIME;

/// Every attribute about access times.
const TIME_ATTRIBUTES: u64 = a::ATIME | a::NODIRATIME;

/// Gives a detached tree its attributes; `locked` keeps those of the host's.
pub(crate) fn apply(tree: &OwnedFd, options: &Options, locked: bool) -> Step<()> {
    if options.flags.is_empty() {
        return Ok(());
    }
    let wanted = wanted(options);
    if !locked {
        match sys::mount::set_attr(tree.as_fd(), &wanted, false) {
            // Locked by the kernel.
            Err(Errno::PERM) => {}
            other => return at("mount_setattr", other),
        }
    }
    let kept = keep(&wanted, present(tree)?, options.flags.clear)?;
    at(
        "mount_setattr",
        sys::mount::set_attr(tree.as_fd(), &kept, false),
    )
}

/// What is asked for, nothing being locked.
fn wanted(options: &Options) -> MountAttr<'static> {
    let set = options.flags.set;
    let mut attr = MountAttr::default();
    for (flag, attribute, _) in PLAIN {
        match set & flag != 0 {
            true => attr.set |= attribute,
            false => attr.clear |= attribute,
        }
    }
    if set & TIMES != 0 {
        attr.clear |= TIME_ATTRIBUTES;
        attr.set |= match set {
            _ if set & libc::MS_STRICTATIME != 0 => a::STRICTATIME,
            _ if set & libc::MS_NOATIME != 0 => a::NOATIME,
            _ => 0,
        };
        if set & libc::MS_NODIRATIME != 0 {
            attr.clear &= !a::NODIRATIME;
            attr.set |= a::NODIRATIME;
        }
    }
    attr
}

/// As much of it as goes with the attributes that are there; `taken` are the flags that are
/// expressly taken away.
fn keep(wanted: &MountAttr<'_>, present: u64, taken: u64) -> Step<MountAttr<'static>> {
    let refused = Err(Problem::Errno("mount_setattr", Errno::PERM));
    let (mut set, mut clear) = (wanted.set, wanted.clear);
    for (flag, attribute, locked) in PLAIN {
        if locked && present & attribute != 0 {
            if taken & flag != 0 {
                return refused;
            }
            set |= attribute;
            clear &= !attribute;
        }
    }
    if clear & a::ATIME != 0 && (set ^ present) & TIME_ATTRIBUTES != 0 {
        return refused;
    }
    Ok(MountAttr {
        set,
        clear,
        ..MountAttr::default()
    })
}

/// The attributes a tree has.
fn present(tree: &OwnedFd) -> Step<u64> {
    use rustix::fs::StatVfsMountFlags as Flags;
    let read = || at("statvfs", rustix::fs::fstatvfs(tree)).map(|stat| stat.f_flag);
    let mut flags = read()?;
    let writable = MountAttr {
        clear: a::RDONLY,
        ..MountAttr::default()
    };
    // What is read-only may be the file system, which is no matter of the mount.
    if flags.contains(Flags::RDONLY) && sys::mount::set_attr(tree.as_fd(), &writable, false).is_ok()
    {
        flags.set(Flags::RDONLY, !read()?.contains(Flags::RDONLY));
    }
    let has = |flag| flags.contains(flag);
    let mut out = 0;
    for (flag, attribute) in [
        (Flags::RDONLY, a::RDONLY),
        (Flags::NOSUID, a::NOSUID),
        (Flags::NODEV, a::NODEV),
        (Flags::NOEXEC, a::NOEXEC),
        (Flags::NODIRATIME, a::NODIRATIME),
    ] {
        if has(flag) {
            out |= attribute;
        }
    }
    out |= match (has(Flags::NOATIME), has(Flags::RELATIME)) {
        (true, _) => a::NOATIME,
        (false, true) => 0,
        (false, false) => a::STRICTATIME,
    };
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Options {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        Options::parse(&words).unwrap()
    }

    #[test]
    fn one_word_decides_on_all() {
        let attr = wanted(&options(&["bind", "ro"]));
        assert_eq!(attr.set, a::RDONLY);
        let others = a::NOSUID | a::NODEV | a::NOEXEC | a::NOSYMFOLLOW;
        assert_eq!(attr.clear, others);
        let attr = wanted(&options(&["bind", "nodiratime", "norelatime"]));
        assert_eq!(attr.set, a::NODIRATIME);
        assert_eq!(attr.clear & TIME_ATTRIBUTES, a::ATIME);
        // Taking a mode of access times away is not naming another one.
        let attr = wanted(&options(&["bind", "atime", "nostrictatime"]));
        assert_eq!((attr.set | attr.clear) & TIME_ATTRIBUTES, 0);
    }

    #[test]
    fn what_the_host_has_set_stays() {
        let kept = |words: &[&str], present| {
            let options = options(words);
            keep(&wanted(&options), present, options.flags.clear)
        };
        let attr = kept(&["ro"], a::NOSUID | a::NOEXEC).unwrap();
        assert_eq!(attr.set, a::RDONLY | a::NOSUID | a::NOEXEC);
        assert_eq!(attr.clear, a::NODEV | a::NOSYMFOLLOW);
        assert!(kept(&["rw", "nosuid"], a::RDONLY).is_err());
        assert!(kept(&["suid"], a::NODEV).is_ok());
        assert!(kept(&["noatime"], a::NOATIME).is_ok());
        assert!(kept(&["noatime"], 0).is_err());
        assert!(kept(&["relatime"], a::STRICTATIME).is_err());
    }
}
