//! Figures: collecting them, and what the kernel says of time and memory.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Rows of figures, a column for each engine.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<String>,
    rows: Vec<(String, BTreeMap<String, Vec<f64>>)>,
}

impl Table {
    pub(crate) fn new(columns: Vec<String>) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// One more figure.
    pub(crate) fn add(&mut self, row: &str, column: &str, figure: f64) {
        let at = self.rows.iter().position(|(name, _)| name == row);
        let at = at.unwrap_or_else(|| {
            self.rows.push((row.to_owned(), BTreeMap::new()));
            self.rows.len() - 1
        });
        let figures = self.rows[at].1.entry(column.to_owned()).or_default();
        figures.push(figure);
    }

    /// One more time, in milliseconds.
    pub(crate) fn time(&mut self, row: &str, column: &str, took: Duration) {
        self.add(row, column, took.as_secs_f64() * 1e3);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nmedian (min; n); in brackets: times the first one's median\n"
        )?;
        writeln!(f, "| | {} |", self.columns.join(" | "))?;
        writeln!(f, "|---|{}", "---|".repeat(self.columns.len()))?;
        for (name, figures) in &self.rows {
            write!(f, "| {name} |")?;
            let ours = self
                .columns
                .first()
                .and_then(|column| figures.get(column))
                .map(|all| median(all));
            for (at, column) in self.columns.iter().enumerate() {
                let Some(all) = figures.get(column) else {
                    write!(f, " - |")?;
                    continue;
                };
                let least = all.iter().copied().fold(f64::INFINITY, f64::min);
                write!(f, " {:.1} ({least:.1}; {})", median(all), all.len())?;
                match ours {
                    Some(ours) if at > 0 && ours > 0.0 => {
                        write!(f, " [{:.2}] |", median(all) / ours)?;
                    }
                    _ => write!(f, " |")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The middle one; of two, the lower.
pub(crate) fn median(all: &[f64]) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .get((sorted.len().max(1) - 1) / 2)
        .copied()
        .unwrap_or(f64::NAN)
}

/// Processor milliseconds of all processes of this pid namespace but us, the dead ones included:
/// they are in the sums of those who reaped them (proc_pid_stat(5): utime, stime, cutime, cstime).
pub(crate) fn processor_time() -> f64 {
    let ticks: u64 = processes()
        .filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<u64> = stat
                .rsplit_once(')')?
                .1
                .split_whitespace()
                .map(|field| field.parse().unwrap_or(0))
                .collect();
            let us = pid == std::process::id();
            let own = if us { 0 } else { fields[11] + fields[12] };
            Some(own + fields[13] + fields[14])
        })
        .sum();
    // USER_HZ is 100 on every architecture that Corten runs on.
    ticks as f64 * 10.0
}

/// Proportional set size of the processes with one of these names, in MiB (proc_pid_smaps(5)).
pub(crate) fn pss(names: &[&str]) -> f64 {
    let kib: u64 = processes()
        .filter(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            names.contains(&name.trim())
        })
        .filter_map(|pid| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        })
        .sum();
    kib as f64 / 1024.0
}

fn processes() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 1.0);
        assert!(median(&[]).is_nan());
    }
}
