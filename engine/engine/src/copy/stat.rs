//! What the API tells of a file.

use std::ffi::OsString;
use std::io;

use dockerapi::PathStat;
use rustix::fs::{FileType, OFlags, Stat, fstat};

use super::view::View;
use crate::clock;

/// The stat of what is at `logical`, which the client calls `path`.
pub(super) fn of(view: &View, path: &str, logical: &[OsString]) -> io::Result<PathStat> {
    let stat = fstat(view.open(logical, OFlags::PATH | OFlags::NOFOLLOW)?)?;
    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    let link_target = match is_link {
        true => view.target(path)?.to_string_lossy().into_owned(),
        false => String::new(),
    };
    let nanos = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    Ok(PathStat {
        name: base(path),
        size: stat.st_size,
        mode: go_mode(&stat),
        // 1970 itself is no absent time here.
        mtime: jiff::Timestamp::from_nanosecond(nanos)
            .map_or_else(|_| clock::ZERO.into(), |time| time.to_string()),
        link_target,
    })
}

/// The last name of a path, as Go's `filepath.Base` has it: `/` of the root, `.` of nothing.
pub(super) fn base(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit('/').next() {
        Some("") | None if path.is_empty() => ".".into(),
        Some("") | None => "/".into(),
        Some(name) => name.into(),
    }
}

/// Go's `os.FileMode`: kinds in bits of its own, permissions in the lowest nine.
fn go_mode(stat: &Stat) -> u32 {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::CharacterDevice => 1 << 26 | 1 << 21,
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        _ => 0,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = special.iter().filter(|(bit, _)| stat.st_mode & bit != 0);
    special.fold(kind | (stat.st_mode & 0o777), |mode, (_, go)| mode | go)
}
