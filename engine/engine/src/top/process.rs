//! One process, and what of the host is needed to judge it.

use std::collections::HashMap;
use std::fs::{read, read_to_string};

/// /proc/stat's ticks per second: USER_HZ.
pub(super) const HZ: u64 = 100;

/// The host at the time of the reading.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Nanoseconds since 1970.
    pub(super) now: i128,
    /// Seconds since boot.
    pub(super) uptime: f64,
    /// KiB of memory.
    pub(super) memory: u64,
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Host {
    pub(super) fn read() -> Self {
        let text = |path: &str| read_to_string(path).unwrap_or_default();
        let uptime = text("/proc/uptime");
        let meminfo = text("/proc/meminfo");
        let kib = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"));
        Self {
            now: i128::from(crate::clock::now()),
            uptime: uptime
                .split(' ')
                .next()
                .and_then(|s| s.parse().ok())
                .unwrap_or_default(),
            memory: kib
                .and_then(|text| text.split_ascii_whitespace().next()?.parse().ok())
                .unwrap_or_default(),
            users: names(&text("/etc/passwd")),
            groups: names(&text("/etc/group")),
        }
    }

    pub(super) fn user(&self, uid: u32) -> String {
        self.users
            .get(&uid)
            .cloned()
            .unwrap_or_else(|| uid.to_string())
    }

    pub(super) fn group(&self, gid: u32) -> String {
        self.groups
            .get(&gid)
            .cloned()
            .unwrap_or_else(|| gid.to_string())
    }
}

/// Third field → first field of passwd and group.
fn names(text: &str) -> HashMap<u32, String> {
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
    };
    // The first of several names of an ID is the one shown.
    text.lines()
        .filter_map(entry)
        .fold(HashMap::new(), |mut map, (id, name)| {
            map.entry(id).or_insert(name);
            map
        })
}

/// One process, from /proc/<pid>/{stat,status,cmdline,wchan}.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) command: String,
    /// Empty for kernel threads and zombies.
    pub(super) arguments: String,
    pub(super) state: char,
    stat: Vec<i64>,
    /// Real, effective, saved, file system.
    pub(super) uids: [u32; 4],
    pub(super) gids: [u32; 4],
    pub(super) locked_kib: u64,
    pub(super) wchan: String,
}

impl Process {
    /// `None` when it is gone.
    pub(super) fn read(pid: u32) -> Option<Self> {
        let path = |file: &str| format!("/proc/{pid}/{file}");
        let stat = read(path("stat")).ok()?;
        let status = String::from_utf8_lossy(&read(path("status")).ok()?).into_owned();
        let arguments = read(path("cmdline")).unwrap_or_default();
        let wchan = read_to_string(path("wchan")).unwrap_or_default();
        let mut process = Self::parse(&String::from_utf8_lossy(&stat), &status)?;
        process.arguments = join_arguments(&arguments);
        process.wchan = if wchan.is_empty() || wchan == "0" {
            "-".into()
        } else {
            wchan
        };
        Some(process)
    }

    fn parse(stat: &str, status: &str) -> Option<Self> {
        // The name stands in parentheses and may hold anything, also parentheses.
        let (pid, rest) = stat.split_once(" (")?;
        let (command, rest) = rest.rsplit_once(") ")?;
        let (state, rest) = rest.split_at_checked(1)?;
        let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
        let four = |key: &str| {
            let mut ids = [0; 4];
            let fields = line(key).unwrap_or_default().split_ascii_whitespace();
            for (id, field) in ids.iter_mut().zip(fields) {
                *id = field.parse().unwrap_or_default();
            }
            ids
        };
        let locked = line("VmLck:").and_then(|text| text.split_ascii_whitespace().next());
        Some(Self {
            pid: pid.parse().ok()?,
            command: printable(command),
            state: state.chars().next()?,
            // Numbers beyond i64 (limits) are of no interest here.
            stat: rest
                .split_ascii_whitespace()
                .map(|n| n.parse().unwrap_or_default())
                .collect(),
            uids: four("Uid:"),
            gids: four("Gid:"),
            locked_kib: locked.and_then(|kib| kib.parse().ok()).unwrap_or_default(),
            ..Self::default()
        })
    }

    /// Field `number` of proc_pid_stat(5), counted from 1; those from 4 on.
    pub(super) fn field(&self, number: usize) -> i64 {
        self.stat.get(number - 4).copied().unwrap_or_default()
    }

    /// The same, for what is never negative.
    pub(super) fn count(&self, number: usize) -> u64 {
        u64::try_from(self.field(number)).unwrap_or_default()
    }

    /// Ticks of processor time.
    pub(super) fn cpu_ticks(&self) -> u64 {
        self.count(14) + self.count(15)
    }

    /// Seconds since it was started.
    pub(super) fn age(&self, host: &Host) -> f64 {
        (host.uptime - self.count(22) as f64 / HZ as f64).max(0.0)
    }

    pub(super) fn rss_kib(&self) -> u64 {
        self.count(24) * (rustix::param::page_size() as u64 / 1024)
    }
}

fn join_arguments(raw: &[u8]) -> String {
    let end = raw
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    let text = String::from_utf8_lossy(&raw[..end]).replace('\0', " ");
    printable(&text)
}

fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Process, join_arguments};

    #[test]
    fn odd_names() {
        let stat = "7 (a) b (c) S 1 7 7 34816 7 4194304 0 0 0 0 250 50 0 0 20 0 3 0 100 4096 2";
        let process = Process::parse(stat, "Uid:\t1\t2\t3\t4\nVmLck:\t  8 kB\n").expect("parse");
        assert_eq!(process.command, "a) b (c");
        assert_eq!(process.state, 'S');
        assert_eq!(process.field(4), 1);
        assert_eq!(process.cpu_ticks(), 300);
        assert_eq!(process.count(20), 3);
        assert_eq!(process.uids, [1, 2, 3, 4]);
        assert_eq!(process.locked_kib, 8);
        assert!(Process::parse("rubbish", "").is_none());
        assert_eq!(join_arguments(b"sh\0-c\0a\nb\0"), "sh -c a?b");
    }
}
