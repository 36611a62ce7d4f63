//! What was looked at, and how it came out.

use std::fmt;

use anyhow::{Result, bail};

use super::room::Room;

/// Rows of (driver, what, why it failed).
#[derive(Debug, Default)]
pub(crate) struct Checks {
    driver: String,
    rows: Vec<(String, String, Option<String>)>,
}

impl Checks {
    /// What comes is about this one.
    pub(crate) fn driver(&mut self, name: &str) {
        name.clone_into(&mut self.driver);
    }

    /// One check. It is told at once: a run may be looked at while it goes on.
    pub(crate) fn check(&mut self, what: &str, check: impl FnOnce() -> Result<()>) {
        match check() {
            Ok(()) => self.row(what, None),
            Err(error) => self.row(what, Some(format!("{error:#}"))),
        }
    }

    /// One that failed.
    pub(crate) fn failed(&mut self, what: &str, why: &str) {
        self.row(what, Some(why.to_owned()));
    }

    /// All passed, and there were some.
    pub(crate) fn good(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|(_, _, why)| why.is_none())
    }

    fn row(&mut self, what: &str, why: Option<String>) {
        match &why {
            None => println!("{}: {what}: ok", self.driver),
            Some(why) => println!("{}: {what}: FAILED: {why}", self.driver),
        }
        self.rows.push((self.driver.clone(), what.to_owned(), why));
    }
}

impl fmt::Display for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{:12} {:>7} {:>7}", "driver", "passed", "failed")?;
        let mut drivers: Vec<&str> = self.rows.iter().map(|row| row.0.as_str()).collect();
        drivers.dedup();
        for driver in drivers {
            let of = |good: bool| {
                let rows = self.rows.iter();
                rows.filter(|r| r.0 == driver && r.2.is_none() == good)
                    .count()
            };
            writeln!(f, "{driver:12} {:>7} {:>7}", of(true), of(false))?;
        }
        for (driver, what, why) in &self.rows {
            if let Some(why) = why {
                writeln!(f, "{driver}: {what}: {why}")?;
            }
        }
        Ok(())
    }
}

/// Both are the same.
pub(crate) fn same(seen: &str, wanted: &str) -> Result<()> {
    match seen == wanted {
        true => Ok(()),
        false => bail!("{seen:?} instead of {wanted:?}"),
    }
}

/// The first contains the second.
pub(crate) fn contains(seen: &str, part: &str) -> Result<()> {
    match seen.contains(part) {
        true => Ok(()),
        false => bail!("no {part:?} in {seen:?}"),
    }
}

/// What a directory should not have any more is gone; one that is not there has nothing.
pub(crate) fn empty(dirs: &[&str]) -> Result<()> {
    for dir in dirs {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let left: Vec<_> = entries.collect();
        if !left.is_empty() {
            bail!("left behind: {left:?}");
        }
    }
    Ok(())
}

/// The container of this process is frozen.
pub(crate) fn frozen(room: &Room, pid: &str) -> Result<()> {
    let state = room.limit(pid, "freezer", "freezer.state", "cgroup.freeze")?;
    same(&state, "FROZEN").or_else(|_| same(&state, "1"))
}

/// It has half a processor.
pub(crate) fn half_a_processor(room: &Room, pid: &str) -> Result<()> {
    let quota = room.limit(pid, "cpu", "cpu.cfs_quota_us", "cpu.max")?;
    same(&quota, "50000").or_else(|_| same(&quota, "50000 100000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_enough() {
        let mut checks = Checks::default();
        assert!(!checks.good());
        checks.driver("a");
        checks.check("one", || same("x", "x"));
        assert!(checks.good());
        checks.check("two", || contains("x", "y"));
        assert!(!checks.good());
        assert!(checks.to_string().contains("a                  1       1"));
    }
}
