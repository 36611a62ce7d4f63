//! ps's columns.

use jiff::tz::TimeZone;

use super::process::{HZ, Host, Process};

/// One column: its name in `-o`, its usual title, its text.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) text: fn(&Process, &Host) -> String,
}

/// `-ef`. `name=TITLE` where the title is not the column's own.
pub(super) const FULL: [&str; 8] = [
    "user=UID", "pid", "ppid", "c", "stime", "tname", "time", "cmd",
];
/// `-F`.
pub(super) const EXTRA_FULL: [&str; 11] = [
    "user=UID", "pid", "ppid", "c", "sz", "rss", "psr", "stime", "tname", "time", "cmd",
];
/// `aux`.
pub(super) const USER: [&str; 11] = [
    "user",
    "pid",
    "%cpu",
    "%mem",
    "vsz",
    "rss",
    "tname",
    "stat",
    "start_time",
    "bsdtime",
    "args",
];
/// `-l`.
pub(super) const LONG: [&str; 14] = [
    "f", "s", "uid", "pid", "ppid", "c", "opri", "ni", "addr", "sz", "wchan", "tname", "time",
    "ucmd",
];
/// `-fl`.
pub(super) const FULL_LONG: [&str; 15] = [
    "f", "s", "user=UID", "pid", "ppid", "c", "opri", "ni", "addr", "sz", "wchan", "stime",
    "tname", "time", "cmd",
];
/// `ax`.
pub(super) const BSD: [&str; 5] = ["pid", "tname", "stat", "bsdtime", "args"];
/// No style.
pub(super) const PLAIN: [&str; 4] = ["pid", "tname", "time", "ucmd"];

/// By the name used in `-o`.
pub(super) fn find(name: &str) -> Option<&'static Column> {
    let name = match name {
        "pcpu" => "%cpu",
        "pmem" => "%mem",
        "euser" | "uname" => "user",
        "euid" => "uid",
        "egroup" => "group",
        "egid" => "gid",
        "command" => "args",
        "ucomm" => "comm",
        "vsize" => "vsz",
        "rssize" | "rsz" => "rss",
        "state" => "s",
        "tt" => "tty",
        "cputime" => "time",
        "nice" => "ni",
        "thcount" => "nlwp",
        "flag" | "flags" => "f",
        "pgrp" => "pgid",
        "sess" | "session" => "sid",
        other => other,
    };
    COLUMNS.iter().find(|column| column.name == name)
}

macro_rules! columns {
    ($($name:literal $title:literal $text:expr;)*) => {
        &[$(Column { name: $name, title: $title, text: $text }),*]
    };
}

static COLUMNS: &[Column] = columns! {
    "pid" "PID" |p, _| p.pid.to_string();
    "ppid" "PPID" |p, _| p.field(4).to_string();
    "pgid" "PGID" |p, _| p.field(5).to_string();
    "sid" "SID" |p, _| p.field(6).to_string();
    "tpgid" "TPGID" |p, _| p.field(8).to_string();
    "user" "USER" |p, h| h.user(p.uids[1]);
    "ruser" "RUSER" |p, h| h.user(p.uids[0]);
    "suser" "SUSER" |p, h| h.user(p.uids[2]);
    "uid" "UID" |p, _| p.uids[1].to_string();
    "ruid" "RUID" |p, _| p.uids[0].to_string();
    "group" "GROUP" |p, h| h.group(p.gids[1]);
    "rgroup" "RGROUP" |p, h| h.group(p.gids[0]);
    "gid" "GID" |p, _| p.gids[1].to_string();
    "rgid" "RGID" |p, _| p.gids[0].to_string();
    "comm" "COMMAND" |p, _| command(p);
    "ucmd" "CMD" |p, _| command(p);
    "args" "COMMAND" |p, _| arguments(p);
    "cmd" "CMD" |p, _| arguments(p);
    "%cpu" "%CPU" |p, h| format!("{:.1}", cpu_share(p, h));
    "c" "C" |p, h| format!("{:.0}", cpu_share(p, h).min(99.0).floor());
    "%mem" "%MEM" memory_share;
    "vsz" "VSZ" |p, _| (p.count(23) / 1024).to_string();
    "sz" "SZ" |p, _| (p.count(23) / rustix::param::page_size() as u64).to_string();
    "rss" "RSS" |p, _| p.rss_kib().to_string();
    "stat" "STAT" status;
    "s" "S" |p, _| p.state.to_string();
    "tty" "TT" |p, _| terminal(p.field(7));
    "tname" "TTY" |p, _| terminal(p.field(7));
    "time" "TIME" |p, _| days_and_time(p.cpu_ticks() / HZ, true);
    "bsdtime" "TIME" |p, _| minutes(p.cpu_ticks() / HZ);
    "etime" "ELAPSED" |p, h| days_and_time(p.age(h) as u64, false);
    "etimes" "ELAPSED" |p, h| (p.age(h) as u64).to_string();
    "start" "STARTED" |p, h| started(p, h, |old| if old { "%b %d" } else { "%H:%M:%S" });
    "bsdstart" "START" |p, h| started(p, h, |old| if old { "%b%d" } else { "%H:%M" });
    "stime" "STIME" start_time;
    "start_time" "START" start_time;
    "lstart" "STARTED" |p, h| started(p, h, |_| "%a %b %e %H:%M:%S %Y");
    "ni" "NI" |p, _| p.field(19).to_string();
    "pri" "PRI" |p, _| (39 - p.field(18)).to_string();
    "opri" "PRI" |p, _| (60 + p.field(18)).to_string();
    "nlwp" "NLWP" |p, _| p.field(20).to_string();
    "psr" "PSR" |p, _| p.field(39).to_string();
    "wchan" "WCHAN" |p, _| p.wchan.clone();
    "addr" "ADDR" |_, _| "-".to_owned();
    "f" "F" |p, _| ((p.count(9) >> 6) & 7).to_string();
};

fn command(process: &Process) -> String {
    let defunct = if process.state == 'Z' {
        " <defunct>"
    } else {
        ""
    };
    format!("{}{defunct}", process.command)
}

fn arguments(process: &Process) -> String {
    if process.state == 'Z' {
        format!("[{}] <defunct>", process.command)
    } else if process.arguments.is_empty() {
        format!("[{}]", process.command)
    } else {
        process.arguments.clone()
    }
}

/// Per cent of one processor over its life.
fn cpu_share(process: &Process, host: &Host) -> f64 {
    let age = process.age(host);
    if age <= 0.0 {
        return 0.0;
    }
    process.cpu_ticks() as f64 / HZ as f64 / age * 100.0
}

fn memory_share(process: &Process, host: &Host) -> String {
    let share = match host.memory {
        0 => 0.0,
        total => process.rss_kib() as f64 / total as f64 * 100.0,
    };
    format!("{share:.1}")
}

/// State and the flags that BSD adds to it.
fn status(process: &Process, _: &Host) -> String {
    let mut text = process.state.to_string();
    match process.field(19) {
        ..0 => text.push('<'),
        0 => {}
        _ => text.push('N'),
    }
    if process.locked_kib > 0 {
        text.push('L');
    }
    if process.field(6) == i64::from(process.pid) {
        text.push('s');
    }
    if process.field(20) > 1 {
        text.push('l');
    }
    if process.field(8) == process.field(5) {
        text.push('+');
    }
    text
}

/// The name of a terminal's device number.
fn terminal(device: i64) -> String {
    let device = u32::try_from(device).unwrap_or_default();
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);
    match major {
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        5 if minor == 1 => "console".into(),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        _ => "?".into(),
    }
}

/// `[DD-]HH:MM:SS`; without hours when there are none, unless `hours`.
fn days_and_time(seconds: u64, hours: bool) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (h, m, s) = (rest / 3600, rest / 60 % 60, rest % 60);
    match (days, h) {
        (0, 0) if !hours => format!("{m:02}:{s:02}"),
        (0, _) => format!("{h:02}:{m:02}:{s:02}"),
        _ => format!("{days:02}-{h:02}:{m:02}:{s:02}"),
    }
}

/// `M:SS`.
fn minutes(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn start(process: &Process, host: &Host) -> Option<(jiff::Zoned, jiff::Zoned)> {
    let zone = TimeZone::system();
    let nanos = host.now - (process.age(host) * 1e9) as i128;
    let zoned = |nanos| {
        Some(
            jiff::Timestamp::from_nanosecond(nanos)
                .ok()?
                .to_zoned(zone.clone()),
        )
    };
    Some((zoned(nanos)?, zoned(host.now)?))
}

/// By a format that depends on its being older than a day.
fn started(process: &Process, host: &Host, format: fn(bool) -> &'static str) -> String {
    let old = process.age(host) > 86_400.0;
    start(process, host).map_or_else(
        || "?".into(),
        |(start, _)| start.strftime(format(old)).to_string(),
    )
}

/// Time today, day this year, year.
fn start_time(process: &Process, host: &Host) -> String {
    let Some((start, now)) = start(process, host) else {
        return "?".into();
    };
    let format = match (start.year() == now.year(), start.date() == now.date()) {
        (_, true) => "%H:%M",
        (true, _) => "%b%d",
        _ => "%Y",
    };
    start.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, days_and_time, find, minutes, terminal};

    #[test]
    fn texts() {
        assert_eq!(days_and_time(59, true), "00:00:59");
        assert_eq!(days_and_time(90_061, true), "01-01:01:01");
        assert_eq!(days_and_time(61, false), "01:01");
        assert_eq!(minutes(3_725), "62:05");
        assert_eq!(terminal(0), "?");
        assert_eq!(terminal(34_816), "pts/0");
        assert_eq!(terminal(35_073), "pts/257");
        assert_eq!(terminal(0x401), "tty1");
        assert_eq!(terminal(0x440), "ttyS0");
    }

    #[test]
    fn every_style_has_its_columns() {
        let lists: [&[&str]; 7] = [
            &super::FULL,
            &super::EXTRA_FULL,
            &super::USER,
            &super::LONG,
            &super::FULL_LONG,
            &super::BSD,
            &super::PLAIN,
        ];
        for name in lists.concat() {
            let name = name.split('=').next().unwrap_or_default();
            assert!(find(name).is_some(), "{name}");
        }
        assert!(COLUMNS.iter().all(|column| find(column.name).is_some()));
    }
}
