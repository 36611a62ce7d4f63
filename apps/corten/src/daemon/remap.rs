//! `--userns-remap`: whose subordinate ids containers have. Forms and texts are dockerd's.

use anyhow::{Result, anyhow, bail};
use engine::{DEFAULT_USER, IdMaps, Remap};

/// The special name of [`DEFAULT_USER`].
const DEFAULT: &str = "default";

/// The texts of /etc/passwd, /etc/group, /etc/subuid and /etc/subgid.
#[derive(Debug, Default)]
pub(super) struct Files {
    passwd: String,
    group: String,
    subuid: String,
    subgid: String,
}

impl Files {
    /// The host's.
    pub(super) fn read() -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/etc/{name}")).unwrap_or_default();
        Self {
            passwd: read("passwd"),
            group: read("group"),
            subuid: read("subuid"),
            subgid: read("subgid"),
        }
    }
}

/// What `user[:group]` means; `None` for nothing and for root, who is mapped to nobody else.
pub(super) fn read(text: &str, files: &Files) -> Result<Option<Remap>> {
    if text.is_empty() {
        return Ok(None);
    }
    let (user, group) = match text.split(':').collect::<Vec<_>>().as_slice() {
        [user] => ((*user).to_owned(), None),
        [user, group] => ((*user).to_owned(), Some((*group).to_owned())),
        _ => bail!("Invalid user/group specification in --userns-remap: {text:?}"),
    };
    let (name, uid) = find_user(&user, files)?;
    let group = match group {
        Some(group) => find_group(&group, files, "groupname")?,
        None if user.parse::<u32>().is_ok() => find_group(&user, files, "gid")?,
        None if user == DEFAULT => name.clone(),
        None => find_group(&name, files, "gid")?,
    };
    if name == "root" {
        tracing::warn!(
            "User namespaces: root cannot be remapped with itself; user namespaces are OFF"
        );
        return Ok(None);
    }
    let ids = IdMaps::of_user(&name, uid, &files.subuid, &files.subgid)
        .map_err(|error| anyhow!("error creating ID mappings: {error}"))?;
    Ok(Some(Remap {
        name: format!("{name}:{group}"),
        ids,
    }))
}

/// Name and number of a user. `default` needs no entry in /etc/passwd: its ranges are what counts,
/// and no user is made for them.
fn find_user(user: &str, files: &Files) -> Result<(String, Option<u32>)> {
    if let Ok(uid) = user.parse::<u32>() {
        let name = entry(&files.passwd, 2, user).ok_or_else(|| {
            anyhow!("Uid {uid} has no entry in /etc/passwd: no matching entries in passwd file")
        })?;
        return Ok((name, Some(uid)));
    }
    let name = if user == DEFAULT { DEFAULT_USER } else { user };
    let line = files
        .passwd
        .lines()
        .find(|line| line.split(':').next() == Some(name));
    match line {
        Some(line) => {
            let uid = line.split(':').nth(2).and_then(|uid| uid.parse().ok());
            Ok((name.to_owned(), uid))
        }
        None if user == DEFAULT => {
            let has_ranges = IdMaps::of_user(name, None, &files.subuid, &files.subgid).is_ok();
            if !has_ranges {
                bail!(
                    "Error during {name:?} user creation: Corten makes no users: give {name} a line \
                     such as {name}:100000:65536 in /etc/subuid and /etc/subgid"
                );
            }
            Ok((name.to_owned(), None))
        }
        None => bail!("Error during uid lookup for {name:?}: no matching entries in passwd file"),
    }
}

fn find_group(group: &str, files: &Files, what: &str) -> Result<String> {
    if let Ok(gid) = group.parse::<u32>() {
        return entry(&files.group, 2, group).ok_or_else(|| {
            anyhow!("Gid {gid} has no entry in /etc/group: no matching entries in group file")
        });
    }
    entry(&files.group, 0, group).ok_or_else(|| {
        anyhow!("Error during {what} lookup for {group:?}: no matching entries in group file")
    })
}

/// The name in the line whose field says `value`.
fn entry(text: &str, field: usize, value: &str) -> Option<String> {
    text.lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(field) == Some(&value))
        .and_then(|fields| fields.first().map(|name| (*name).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{Files, read};

    fn files() -> Files {
        let ranges = "dockremap:100000:65536\nme:300000:65536\n".to_owned();
        Files {
            passwd: "root:x:0:0::/:\nme:x:1000:1001::/:\nlone:x:7:7::/:\n".into(),
            group: "root:x:0:\nme:x:1000:\nothers:x:1002:\nlone:x:7:\n".into(),
            subuid: ranges.clone(),
            subgid: ranges,
        }
    }

    #[test]
    fn forms() {
        let of = |text: &str| read(text, &files()).expect(text).expect("on");
        for (text, name, first) in [
            ("default", "dockremap:dockremap", 100_000),
            ("me", "me:me", 300_000),
            ("1000", "me:me", 300_000),
            ("me:others", "me:others", 300_000),
            ("1000:1002", "me:others", 300_000),
        ] {
            let remap = of(text);
            assert_eq!(remap.name, name, "{text}");
            assert_eq!(remap.ids.uids[0].host_id, first, "{text}");
        }
        assert_eq!(read("", &files()).expect("none"), None);
        assert_eq!(read("root", &files()).expect("off"), None);
    }

    #[test]
    fn refused() {
        let error = |text: &str, files: &Files| read(text, files).expect_err(text).to_string();
        for (text, want) in [
            (
                "a:b:c",
                "Invalid user/group specification in --userns-remap: \"a:b:c\"",
            ),
            ("nobody", "Error during uid lookup for \"nobody\""),
            ("12345", "Uid 12345 has no entry in /etc/passwd"),
            ("me:12345", "Gid 12345 has no entry"),
            (
                "me:strange",
                "Error during groupname lookup for \"strange\"",
            ),
            ("lone", "no subuid ranges found for user \"lone\""),
        ] {
            let said = error(text, &files());
            assert!(said.contains(want), "{text}: {said}");
        }
        let none = Files::default();
        assert!(error("default", &none).starts_with("Error during \"dockremap\" user creation"));
    }
}
