//! Mount options of the specification as attributes, propagation and data.

use oci::runtime::Mount;
use sys::mount as a;
use sys::mount::MountAttr;

use crate::{Error, Result};

/// Parsed options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `Some(true)` is recursive.
    pub(crate) bind: Option<bool>,
    /// Attributes of the mount itself.
    pub(crate) own: Change,
    /// The same in the flags of mount(2), as which bind mounts understand them.
    pub(crate) flags: Change,
    /// Attributes of it and all below (`rro` and the like).
    pub(crate) recursive: Change,
    /// `MS_PRIVATE` and the like, and whether recursive.
    pub(crate) propagation: Option<(u64, bool)>,
    /// File system parameters.
    pub(crate) data: Vec<(String, Option<String>)>,
    /// Parameters that every file system has, by their names in fsconfig(2); of no effect on a
    /// bind mount, as mount(2) has it.
    pub(crate) common: Vec<&'static str>,
    /// Ids are mapped; `Some(true)` below it as well.
    pub(crate) idmap: Option<bool>,
    /// A tmpfs begins with a copy of what it covers.
    pub(crate) copy_up: bool,
    /// What is mounted there already is changed.
    pub(crate) remount: bool,
}

/// Attributes to set and clear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

/// Flags of the file system itself that fsconfig(2) takes on any.
const COMMON: [&str; 7] = [
    "async",
    "sync",
    "dirsync",
    "lazytime",
    "nolazytime",
    "mand",
    "nomand",
];

impl Options {
    /// What does not go together on a mount of this kind.
    pub(crate) fn check(&self, mount: &Mount) -> Result<()> {
        let bind = self.bind.is_some() || mount.kind == "bind";
        let mapped = !mount.uid_mappings.is_empty();
        if bind && let Some((key, _)) = self.data.first() {
            return Err(Error::invalid(format!(
                "invalid option {key:?} for a bind mount"
            )));
        }
        if self.copy_up && (bind || mount.kind != "tmpfs") {
            return Err(Error::invalid("tmpcopyup is for mounts of type tmpfs"));
        }
        if (self.idmap.is_some() || mapped) && (!bind || self.remount) {
            return Err(Error::unsupported(
                "id-mapped mounts are only supported for bind mounts",
            ));
        }
        if self.remount && self.copy_up {
            return Err(Error::invalid("remount and tmpcopyup exclude each other"));
        }
        Ok(())
    }

    /// Everything that is an attribute of the mount itself.
    pub(crate) fn attributes(&self) -> MountAttr<'static> {
        MountAttr {
            set: self.own.set,
            clear: self.own.clear,
            ..MountAttr::default()
        }
    }

    pub(crate) fn parse(list: &[String]) -> Result<Self> {
        let mut out = Self::default();
        for option in list {
            out.one(option)?;
        }
        Ok(out)
    }

    fn one(&mut self, option: &str) -> Result<()> {
        match option {
            "defaults" | "" => return Ok(()),
            "bind" => {
                self.bind.get_or_insert(false);
                return Ok(());
            }
            "rbind" => {
                self.bind = Some(true);
                return Ok(());
            }
            "idmap" => {
                self.idmap.get_or_insert(false);
                return Ok(());
            }
            "ridmap" => {
                self.idmap = Some(true);
                return Ok(());
            }
            "tmpcopyup" => {
                self.copy_up = true;
                return Ok(());
            }
            "remount" => {
                self.remount = true;
                return Ok(());
            }
            // Of mount(8)'s own talk and of counters that are always on since Linux 4.16 where a
            // file system has them: nothing that a mount could be told.
            "silent" | "loud" | "iversion" | "noiversion" => return Ok(()),
            _ => {}
        }
        if let Some(name) = COMMON.iter().find(|name| **name == option) {
            self.common.push(name);
            return Ok(());
        }
        if option.contains('\0') {
            return Err(Error::invalid(format!("{option:?} contains a NUL byte")));
        }
        if let Some(propagation) = propagation(option) {
            self.propagation = Some(propagation);
        } else if let Some(change) = attribute(option) {
            self.own.add(change);
            self.flags.add_flag(option);
        } else if let Some(change) = option.strip_prefix('r').and_then(attribute) {
            self.recursive.add(change);
        } else {
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (option, None),
            };
            self.data.push((key.to_owned(), value));
        }
        Ok(())
    }
}

impl Change {
    /// A later option overrides an earlier one.
    fn add(&mut self, other: Self) {
        self.set = (self.set & !other.clear) | other.set;
        self.clear = (self.clear & !other.set) | other.clear;
        if other.clear & a::ATIME != 0 {
            // The access-time mode is one field: clearing it whole is how it is changed.
            self.clear |= a::ATIME;
        }
    }

    /// A word as a flag of mount(2): to be set, or one that it takes away.
    fn add_flag(&mut self, option: &str) {
        let Some((_, flag, on)) = FLAGS.iter().find(|(name, ..)| *name == option) else {
            return;
        };
        match on {
            true => (self.set, self.clear) = (self.set | flag, self.clear & !flag),
            false => (self.set, self.clear) = (self.set & !flag, self.clear | flag),
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// The words of [`attribute`] in the flags of mount(2), and whether they set theirs.
const FLAGS: [(&str, u64, bool); 18] = [
    ("ro", libc::MS_RDONLY, true),
    ("rw", libc::MS_RDONLY, false),
    ("nosuid", libc::MS_NOSUID, true),
    ("suid", libc::MS_NOSUID, false),
    ("nodev", libc::MS_NODEV, true),
    ("dev", libc::MS_NODEV, false),
    ("noexec", libc::MS_NOEXEC, true),
    ("exec", libc::MS_NOEXEC, false),
    ("nosymfollow", MS_NOSYMFOLLOW, true),
    ("symfollow", MS_NOSYMFOLLOW, false),
    ("nodiratime", libc::MS_NODIRATIME, true),
    ("diratime", libc::MS_NODIRATIME, false),
    ("noatime", libc::MS_NOATIME, true),
    ("atime", libc::MS_NOATIME, false),
    ("relatime", libc::MS_RELATIME, true),
    ("norelatime", libc::MS_RELATIME, false),
    ("strictatime", libc::MS_STRICTATIME, true),
    ("nostrictatime", libc::MS_STRICTATIME, false),
];

/// Of linux/mount.h; not in every libc.
pub(crate) const MS_NOSYMFOLLOW: u64 = 256;

fn propagation(option: &str) -> Option<(u64, bool)> {
    Some(match option {
        "private" => (libc::MS_PRIVATE, false),
        "rprivate" => (libc::MS_PRIVATE, true),
        "slave" => (libc::MS_SLAVE, false),
        "rslave" => (libc::MS_SLAVE, true),
        "shared" => (libc::MS_SHARED, false),
        "rshared" => (libc::MS_SHARED, true),
        "unbindable" => (libc::MS_UNBINDABLE, false),
        "runbindable" => (libc::MS_UNBINDABLE, true),
        _ => return None,
    })
}

fn attribute(option: &str) -> Option<Change> {
    let set = |bit| Change { set: bit, clear: 0 };
    let clear = |bit| Change { set: 0, clear: bit };
    let atime = |mode| Change {
        set: mode,
        clear: a::ATIME,
    };
    Some(match option {
        "ro" => set(a::RDONLY),
        "rw" => clear(a::RDONLY),
        "nosuid" => set(a::NOSUID),
        "suid" => clear(a::NOSUID),
        "nodev" => set(a::NODEV),
        "dev" => clear(a::NODEV),
        "noexec" => set(a::NOEXEC),
        "exec" => clear(a::NOEXEC),
        "nodiratime" => set(a::NODIRATIME),
        "diratime" => clear(a::NODIRATIME),
        "nosymfollow" => set(a::NOSYMFOLLOW),
        "symfollow" => clear(a::NOSYMFOLLOW),
        "noatime" => atime(a::NOATIME),
        "strictatime" => atime(a::STRICTATIME),
        "atime" | "relatime" | "nostrictatime" => atime(0),
        // Relative is what every mount is by default, and what there is no bit for.
        "norelatime" => Change::default(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &[&str]) -> Options {
        let list: Vec<String> = list.iter().map(|s| (*s).to_owned()).collect();
        Options::parse(&list).unwrap()
    }

    #[test]
    fn what_docker_writes() {
        let o = parse(&["nosuid", "strictatime", "mode=755", "size=65536k"]);
        assert_eq!(
            o.own,
            Change {
                set: a::NOSUID | a::STRICTATIME,
                clear: a::ATIME
            }
        );
        assert_eq!(
            o.data,
            [
                ("mode".into(), Some("755".into())),
                ("size".into(), Some("65536k".into()))
            ]
        );
        let o = parse(&["rbind", "rprivate", "ro", "rro"]);
        assert_eq!(o.bind, Some(true));
        assert_eq!(o.propagation, Some((libc::MS_PRIVATE, true)));
        assert_eq!((o.own.set, o.recursive.set), (a::RDONLY, a::RDONLY));
    }

    #[test]
    fn later_ones_win() {
        let o = parse(&["ro", "rw", "noatime", "relatime"]);
        assert_eq!(
            o.own,
            Change {
                set: 0,
                clear: a::RDONLY | a::ATIME
            }
        );
        // Not "r" + "o"-something: these words have meanings of their own.
        assert_eq!(parse(&["rw"]).own.clear, a::RDONLY);
        assert_eq!(parse(&["relatime"]).own.clear, a::ATIME);
    }
}
