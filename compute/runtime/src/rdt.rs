//! Intel Resource Director Technology by the resctrl file system
//! (config-linux.md#intelrdt, Documentation/filesystems/resctrl.rst).
//!
//! A class of service is a directory; the container's first process is written to its `tasks`
//! before it does anything, so that everything it starts is in the class.

use std::io::Write;
use std::path::{Path, PathBuf};

use oci::runtime::{IntelRdt, Linux};

use crate::{Error, Name, Result};

const KEY: &str = "linux.intelRdt";

/// Where the classes of service are.
#[derive(Debug)]
pub(crate) struct Resctrl(PathBuf);

/// Refuses what this machine does not have.
pub(crate) fn check(linux: &Linux, name: Option<&Name<'_>>) -> Result<()> {
    let Some(rdt) = &linux.intel_rdt else {
        return Ok(());
    };
    let resctrl = Resctrl::find()?;
    if name.is_none() && (rdt.clos_id.is_empty() || rdt.enable_monitoring) {
        return Err(Error::unsupported(format!(
            "{KEY}: there is no container id to name a group after"
        )));
    }
    for (key, schema, part) in [
        ("l3CacheSchema", &rdt.l3_cache_schema, "L3"),
        ("memBwSchema", &rdt.mem_bw_schema, "MB"),
    ] {
        let info = resctrl.0.join("info");
        // The cache part is called so when code and data are separated.
        let there = info.join(part).is_dir() || (part == "L3" && info.join("L3CODE").is_dir());
        if !schema.is_empty() && !there {
            return Err(Error::unsupported(format!(
                "{KEY}.{key}: this machine has no control of {part}"
            )));
        }
    }
    Ok(())
}

/// Puts a process that has done nothing yet into its class.
pub(crate) fn apply(linux: &Linux, name: Option<&Name<'_>>, pid: u32) -> Result<()> {
    match &linux.intel_rdt {
        Some(rdt) => Resctrl::find()?.apply(rdt, name.map_or("", |n| n.id), pid),
        None => Ok(()),
    }
}

/// Takes away what was made for a container that is deleted; nothing of a class that was named,
/// and nothing where no resctrl file system is mounted, so that there can be nothing.
pub fn remove(rdt: &IntelRdt, name: &Name<'_>) -> Result<()> {
    match Resctrl::find() {
        Ok(resctrl) => resctrl.remove(rdt, name.id),
        Err(_) => Ok(()),
    }
}

/// Sets the class of a container that runs to other schemata; one without a class gets it, with
/// its first process `pid`. Empty schemata are left as they are.
pub fn update(rdt: &IntelRdt, name: &Name<'_>, pid: u32) -> Result<()> {
    let linux = Linux {
        intel_rdt: Some(rdt.clone()),
        ..Linux::default()
    };
    check(&linux, Some(name))?;
    Resctrl::find()?.update(rdt, name.id, pid)
}

impl Resctrl {
    fn update(&self, rdt: &IntelRdt, id: &str, pid: u32) -> Result<()> {
        let dir = self.directory(rdt, id);
        if !dir.is_dir() {
            return self.apply(rdt, id, pid);
        }
        let schemata = dir.join("schemata");
        [&rdt.l3_cache_schema, &rdt.mem_bw_schema]
            .into_iter()
            .filter(|line| !line.is_empty())
            .try_for_each(|line| self.write(&schemata, &format!("{line}\n")))
    }

    fn find() -> Result<Self> {
        let table = std::fs::read_to_string("/proc/self/mountinfo")
            .map_err(|e| Error::internal(format!("read /proc/self/mountinfo: {e}")))?;
        Self::in_table(&table)
            .ok_or_else(|| Error::unsupported(format!("{KEY}: no resctrl file system is mounted")))
    }

    fn in_table(mountinfo: &str) -> Option<Self> {
        mountinfo.lines().find_map(|line| {
            let (front, back) = line.split_once(" - ")?;
            let at = front.split(' ').nth(4)?;
            back.starts_with("resctrl ")
                .then(|| Self(PathBuf::from(at)))
        })
    }

    fn directory(&self, rdt: &IntelRdt, id: &str) -> PathBuf {
        match rdt.clos_id.as_str() {
            "/" => self.0.clone(),
            "" => self.0.join(id),
            own => self.0.join(own),
        }
    }

    fn apply(&self, rdt: &IntelRdt, id: &str, pid: u32) -> Result<()> {
        let dir = self.directory(rdt, id);
        // In this order: the general one last, as the specification has it.
        let lines: Vec<&str> = [&rdt.l3_cache_schema, &rdt.mem_bw_schema]
            .into_iter()
            .chain(&rdt.schemata)
            .map(String::as_str)
            .filter(|line| !line.is_empty())
            .collect();
        let made = match (dir.is_dir(), rdt.clos_id.is_empty()) {
            (true, _) => false,
            (false, false) if lines.is_empty() => {
                return Err(Error::invalid(format!(
                    "{KEY}.closID: {:?} does not exist, and there is nothing to make it from",
                    rdt.clos_id
                )));
            }
            (false, _) => {
                self.told("make", &dir, std::fs::create_dir(&dir))?;
                true
            }
        };
        let done = self.fill(rdt, id, pid, &dir, &lines, made);
        if done.is_err() && made {
            let _ = std::fs::remove_dir(&dir);
        }
        done
    }

    fn fill(
        &self,
        rdt: &IntelRdt,
        id: &str,
        pid: u32,
        dir: &Path,
        lines: &[&str],
        made: bool,
    ) -> Result<()> {
        let schemata = dir.join("schemata");
        if made || rdt.clos_id.is_empty() {
            for line in lines {
                self.write(&schemata, &format!("{line}\n"))?;
            }
        } else if !lines.is_empty() {
            let now = std::fs::read_to_string(&schemata).unwrap_or_default();
            if let Some(line) = lines.iter().find(|line| !contains(&now, line)) {
                return Err(Error::invalid(format!(
                    "{KEY}: class {:?} exists and is not set to {line:?}",
                    rdt.clos_id
                )));
            }
        }
        self.write(&dir.join("tasks"), &pid.to_string())?;
        if rdt.enable_monitoring {
            let group = dir.join("mon_groups").join(id);
            self.told("make", &group, std::fs::create_dir(&group))?;
            if let Err(error) = self.write(&group.join("tasks"), &pid.to_string()) {
                let _ = std::fs::remove_dir(&group);
                return Err(error);
            }
        }
        Ok(())
    }

    fn remove(&self, rdt: &IntelRdt, id: &str) -> Result<()> {
        let dir = self.directory(rdt, id);
        let own = match rdt.clos_id.is_empty() {
            true => dir,
            false if rdt.enable_monitoring => dir.join("mon_groups").join(id),
            false => return Ok(()),
        };
        match std::fs::remove_dir(&own) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => self.told("remove", &own, other),
        }
    }

    fn write(&self, file: &Path, text: &str) -> Result<()> {
        // In one write, and without making the file where it is missing.
        let open = std::fs::OpenOptions::new().append(true).open(file);
        self.told(
            "write",
            file,
            open.and_then(|mut f| f.write_all(text.as_bytes())),
        )
    }

    /// An error with what resctrl itself has to say about it.
    fn told<T>(&self, verb: &str, path: &Path, done: std::io::Result<T>) -> Result<T> {
        done.map_err(|e| {
            let status = std::fs::read_to_string(self.0.join("info/last_cmd_status"));
            let status = status.unwrap_or_default();
            let status = match status.trim() {
                "" | "ok" => String::new(),
                why => format!(" ({why})"),
            };
            Error::internal(format!("{KEY}: {verb} {}: {e}{status}", path.display()))
        })
    }
}

/// The schemata have this line, wherever zeros and blanks stand.
fn contains(schemata: &str, line: &str) -> bool {
    schemata.lines().any(|have| normal(have) == normal(line))
}

/// Kind, and value by domain.
fn normal(line: &str) -> (String, Vec<(String, String)>) {
    let (kind, rest) = line.trim().split_once(':').unwrap_or((line.trim(), ""));
    let mut domains: Vec<(String, String)> = rest
        .split(';')
        .filter_map(|part| part.split_once('='))
        .map(|(id, value)| {
            let value = value.trim().trim_start_matches('0').to_lowercase();
            (id.trim().to_owned(), value)
        })
        .collect();
    domains.sort();
    (kind.trim().to_owned(), domains)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like resctrl; `class` is one that exists.
    fn resctrl(name: &str) -> Resctrl {
        let dir = std::env::temp_dir().join(format!("rdt-{}-{name}", std::process::id()));
        for sub in ["info/L3", "info/MB", "class/mon_groups", "mon_groups"] {
            std::fs::create_dir_all(dir.join(sub)).unwrap();
        }
        for sub in ["", "class/"] {
            std::fs::write(dir.join(format!("{sub}tasks")), "").unwrap();
            std::fs::write(
                dir.join(format!("{sub}schemata")),
                "    L3:0=00f;1=ff\n MB:0=100\n",
            )
            .unwrap();
        }
        Resctrl(dir)
    }

    fn read(r: &Resctrl, file: &str) -> String {
        std::fs::read_to_string(r.0.join(file)).unwrap()
    }

    #[test]
    fn classes_that_exist() {
        let r = resctrl("exist");
        let mut rdt = IntelRdt {
            clos_id: "class".into(),
            ..Default::default()
        };
        r.apply(&rdt, "id", 42).unwrap();
        assert_eq!(read(&r, "class/tasks"), "42");
        rdt.l3_cache_schema = "L3:1=ff;0=f".into();
        r.apply(&rdt, "id", 43).unwrap();
        rdt.mem_bw_schema = "MB:0=50".into();
        let error = r.apply(&rdt, "id", 44).unwrap_err().message;
        assert!(error.contains("is not set to \"MB:0=50\""), "{error}");
        rdt = IntelRdt {
            clos_id: "none".into(),
            ..Default::default()
        };
        let error = r.apply(&rdt, "id", 45).unwrap_err().message;
        assert!(
            error.starts_with("linux.intelRdt.closID: \"none\""),
            "{error}"
        );
        rdt.clos_id = "/".into();
        r.apply(&rdt, "id", 46).unwrap();
        assert_eq!(read(&r, "tasks"), "46");
        r.remove(&rdt, "id").unwrap();
        assert!(r.0.join("class").is_dir());
        std::fs::remove_dir_all(&r.0).unwrap();
    }

    #[test]
    fn other_schemata_for_one_that_runs() {
        let r = resctrl("update");
        let rdt = IntelRdt {
            clos_id: "class".into(),
            mem_bw_schema: "MB:0=20".into(),
            ..Default::default()
        };
        r.update(&rdt, "id", 42).unwrap();
        // Appended here; resctrl takes each write for itself.
        assert!(read(&r, "class/schemata").ends_with("MB:0=20\n"));
        // Whoever is in the class already is not moved.
        assert_eq!(read(&r, "class/tasks"), "");
        // One without a class gets it. There is no schemata file in a plain directory.
        let own = IntelRdt {
            l3_cache_schema: "L3:0=1".into(),
            ..Default::default()
        };
        let error = r.update(&own, "id", 42).unwrap_err().message;
        assert!(error.contains("/id/schemata: No such file"), "{error}");
        assert!(!r.0.join("id").exists());
        std::fs::remove_dir_all(&r.0).unwrap();
    }

    #[test]
    fn found_by_type() {
        let table = "1 1 0:1 / / rw - ext4 /dev/x rw\n2 1 0:2 / /sys/fs/resctrl rw - resctrl r rw";
        let found = Resctrl::in_table(table).unwrap();
        assert_eq!(found.0, Path::new("/sys/fs/resctrl"));
        assert!(Resctrl::in_table("1 1 0:1 / / rw - ext4 resctrl rw").is_none());
    }
}
