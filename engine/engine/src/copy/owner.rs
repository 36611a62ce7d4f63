//! The user that a container's files are to belong to (`docker cp -a`).

use std::fs::File;
use std::io::Read;

use rustix::fs::OFlags;

use super::view::View;
use crate::{Error, Result};

/// Longest passwd or group file that is read.
const LONGEST: u64 = 4 << 20;

/// UID and GID of `user[:group]`, looked up in the container's own files; `None` for nothing.
pub(super) fn of(view: &View, user: &str) -> Result<Option<(u32, u32)>> {
    if user.is_empty() {
        return Ok(None);
    }
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let passwd = read(view, "/etc/passwd");
    let entry = find(&passwd, user);
    let uid = entry
        .and_then(|fields| fields.get(2)?.parse().ok())
        .or_else(|| user.parse().ok());
    let uid = uid.ok_or_else(|| {
        Error::invalid(format!(
            "unable to find user {user}: no matching entries in passwd file"
        ))
    })?;
    let own = || entry_group(&passwd, user).unwrap_or_default();
    let gid = match group.filter(|group| !group.is_empty()) {
        None => own(),
        Some(group) => {
            let groups = read(view, "/etc/group");
            let found = find(&groups, group).and_then(|fields| fields.get(2)?.parse().ok());
            found.or_else(|| group.parse().ok()).ok_or_else(|| {
                let reason = "no matching entries in group file";
                Error::invalid(format!("unable to find group {group}: {reason}"))
            })?
        }
    };
    Ok(Some((uid, gid)))
}

fn entry_group(passwd: &str, user: &str) -> Option<u32> {
    find(passwd, user)?.get(3)?.parse().ok()
}

/// Fields of the line whose name, or number, this is.
fn find<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let lines = || text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines()
        .find(|fields| fields.first() == Some(&name))
        .or_else(|| lines().find(|fields| fields.get(2) == Some(&name)))
}

/// Empty where there is none.
fn read(view: &View, path: &str) -> String {
    let mut text = String::new();
    if let Ok(logical) = view.resolve(path, true)
        && let Ok(file) = view.open(&logical, OFlags::RDONLY | OFlags::NONBLOCK)
    {
        // What cannot be read holds no names.
        let _ = File::from(file).take(LONGEST).read_to_string(&mut text);
    }
    text
}
