//! Which hierarchies this host has.

use std::path::PathBuf;

use crate::{Error, Result};

/// The host's hierarchies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// 1 or 2; hybrid (v1 controllers beside an empty v2 tree) is 1.
    pub version: u8,
    /// For version 2 exactly one, its controllers those of the root's `cgroup.controllers`.
    pub hierarchies: Vec<Hierarchy>,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// Controllers, or one `name=…`. None: the v2 tree of a hybrid host
    /// ([`Layout::detect_hybrid`]).
    pub controllers: Vec<String>,
}

/// Controllers of cgroup v1 as mount options name them.
const V1_CONTROLLERS: [&str; 14] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "rdma",
    "misc",
];

impl Layout {
    /// Reads this process's mount table.
    pub fn detect() -> Result<Self> {
        let table = std::fs::read_to_string("/proc/self/mountinfo")
            .map_err(|e| Error::io("read", "/proc/self/mountinfo", &e))?;
        let mut layout = Self::parse(&table)?;
        if layout.version == 2 {
            for hierarchy in &mut layout.hierarchies {
                let file = hierarchy.mountpoint.join("cgroup.controllers");
                let text = std::fs::read_to_string(&file)
                    .map_err(|e| Error::io("read", &file.to_string_lossy(), &e))?;
                hierarchy.controllers = text.split_whitespace().map(str::to_owned).collect();
            }
        }
        Ok(layout)
    }

    /// As [`Layout::detect`]; on a hybrid host the v2 tree is one more hierarchy, for those who
    /// want their processes in a cgroup of their own there too.
    pub fn detect_hybrid() -> Result<Self> {
        let mut layout = Self::detect()?;
        if layout.version == 1 {
            let table = std::fs::read_to_string("/proc/self/mountinfo")
                .map_err(|e| Error::io("read", "/proc/self/mountinfo", &e))?;
            layout.hierarchies.extend(unified(&table));
        }
        Ok(layout)
    }

    /// Reads the text of a mountinfo file; v2 controllers stay empty.
    pub fn parse(mountinfo: &str) -> Result<Self> {
        let mut v1: Vec<Hierarchy> = Vec::new();
        for (mountpoint, kind, options) in mounts(mountinfo) {
            if kind != "cgroup" {
                continue;
            }
            let controllers: Vec<String> = options
                .split(',')
                .filter(|o| V1_CONTROLLERS.contains(o) || o.starts_with("name="))
                .map(str::to_owned)
                .collect();
            // A hierarchy mounted twice is used once, where it was mounted first.
            if !controllers.is_empty() && !v1.iter().any(|h| h.controllers == controllers) {
                v1.push(Hierarchy {
                    mountpoint: unescape(mountpoint).into(),
                    controllers,
                });
            }
        }
        if v1.iter().any(|h| !h.is_named()) {
            return Ok(Self {
                version: 1,
                hierarchies: v1,
            });
        }
        match unified(mountinfo) {
            Some(hierarchy) => Ok(Self {
                version: 2,
                hierarchies: vec![hierarchy],
            }),
            None => Err(Error::new("no cgroup hierarchy is mounted")),
        }
    }

    /// Every controller there is, `name=` hierarchies left out.
    pub fn controllers(&self) -> impl Iterator<Item = &str> {
        let all = self.hierarchies.iter().flat_map(|h| &h.controllers);
        all.map(String::as_str).filter(|c| !c.starts_with("name="))
    }
}

impl Hierarchy {
    /// It has this controller.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }

    /// It has no controller, only a name.
    pub fn is_named(&self) -> bool {
        self.controllers.iter().all(|c| c.starts_with("name="))
    }
}

/// Mountpoint (escaped), kind and super options of each mount.
fn mounts(mountinfo: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    mountinfo.lines().filter_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let (kind, options) = (back.next()?, back.nth(1).unwrap_or_default());
        Some((front.split(' ').nth(4)?, kind, options))
    })
}

/// Where the v2 tree is mounted first.
fn unified(mountinfo: &str) -> Option<Hierarchy> {
    let (mountpoint, ..) = mounts(mountinfo).find(|(_, kind, _)| *kind == "cgroup2")?;
    Some(Hierarchy {
        mountpoint: unescape(mountpoint).into(),
        controllers: Vec::new(),
    })
}

/// Undoes mountinfo's octal escapes.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        let code = text
            .get(i + 1..i + 4)
            .and_then(|d| u8::from_str_radix(d, 8).ok());
        match (byte, code) {
            (b'\\', Some(code)) => {
                out.push(code);
                i += 4;
            }
            _ => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_is_version_one() {
        let text = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n\
            40 31 0:37 / /sys/fs/cgroup/my\\040systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let layout = Layout::parse(text).unwrap();
        assert_eq!(layout.version, 1);
        assert_eq!(layout.hierarchies.len(), 2);
        assert_eq!(layout.controllers().collect::<Vec<_>>(), ["cpu", "cpuacct"]);
        assert_eq!(
            layout.hierarchies[1].mountpoint,
            PathBuf::from("/sys/fs/cgroup/my systemd")
        );
        let unified = unified(text).unwrap();
        assert_eq!(unified.mountpoint, PathBuf::from("/sys/fs/cgroup/unified"));
    }

    #[test]
    fn unified_is_version_two() {
        let text = "41 31 0:38 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(Layout::parse(text).unwrap().version, 2);
        assert!(Layout::parse("1 1 0:1 / / rw - ext4 /dev/x rw\n").is_err());
    }
}
