//! Paths as Go's path/filepath and docker's `cp` take them apart: by their text.

use std::ffi::OsString;

use super::failure::{Failure, Outcome, os_text};

/// A path's directory and last entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) dir: String,
    pub(crate) base: String,
}

/// Go's `filepath.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(last) if *last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.as_str()) {
        (true, _) => format!("/{joined}"),
        (false, "") => ".".into(),
        (false, _) => joined,
    }
}

/// Whether the path names its directory: `.`, `a/.`, `a/./`.
fn says_current(path: &str) -> bool {
    let bare = path.trim_end_matches('/');
    bare == "." || bare.ends_with("/.") || path.is_empty()
}

/// Whether only a directory can be meant: a slash or a dot at the end.
pub(crate) fn says_directory(path: &str) -> bool {
    path.ends_with('/') || says_current(path)
}

/// Directory and last entry; that of `a/.` is `.` in `a`.
pub(crate) fn split(path: &str) -> Entry {
    let cleaned = clean(path);
    if says_current(path) {
        return Entry {
            dir: cleaned,
            base: ".".into(),
        };
    }
    let (dir, base) = match cleaned.rsplit_once('/') {
        Some(("", "")) => ("/", "/"),
        Some(("", base)) => ("/", base),
        Some((dir, base)) => (dir, base),
        None => (".", cleaned.as_str()),
    };
    Entry {
        dir: dir.to_owned(),
        base: base.to_owned(),
    }
}

/// An absolute path of the host, with the slash or dot at its end that it was given.
///
/// # Errors
/// Without a current directory.
pub(crate) fn absolute(path: &str) -> Outcome<String> {
    let whole = if path.starts_with('/') {
        path.to_owned()
    } else {
        let here = std::env::current_dir()
            .map_err(|error| Failure::new(format!("getwd: {}", os_text(&error))))?;
        format!("{}/{path}", here.display())
    };
    let mut cleaned = clean(&whole);
    if says_current(path) && !path.is_empty() {
        cleaned.push_str("/.");
    }
    if path.ends_with('/') && !cleaned.ends_with('/') {
        cleaned.push('/');
    }
    Ok(cleaned)
}

/// Where the link at `path` leads.
pub(crate) fn relative_to(path: &str, target: &str) -> String {
    if target.starts_with('/') {
        target.to_owned()
    } else {
        clean(&format!("{}/{target}", split(path).dir))
    }
}

/// What `path` was resolved to, with its ending, and the name that its entry keeps.
pub(crate) fn renamed(path: &str, mut resolved: String) -> (String, Option<OsString>) {
    if says_current(path) && !says_current(&resolved) {
        resolved.push_str("/.");
    }
    if path.ends_with('/') && !resolved.ends_with('/') {
        resolved.push('/');
    }
    let base = |path: &str| split(path).base;
    let (own, new) = (base(path), base(&resolved));
    let name = (own != new).then(|| own.into());
    (resolved, name)
}

#[cfg(test)]
mod tests {
    use super::{clean, renamed, says_directory, split};

    #[test]
    fn cleaning() {
        for (path, want) in [
            ("", "."),
            ("/", "/"),
            ("a//b/./c/..", "a/b"),
            ("/../a", "/a"),
            ("../a", "../a"),
            ("a/..", "."),
        ] {
            assert_eq!(clean(path), want, "{path}");
        }
    }

    #[test]
    fn splitting() {
        for (path, dir, base) in [
            ("/a/b", "/a", "b"),
            ("/a/b/", "/a", "b"),
            ("/a/.", "/a", "."),
            ("a", ".", "a"),
            (".", ".", "."),
            ("/a", "/", "a"),
            ("/", "/", "/"),
        ] {
            let entry = split(path);
            assert_eq!(
                (entry.dir.as_str(), entry.base.as_str()),
                (dir, base),
                "{path}"
            );
        }
        assert!(says_directory("a/") && says_directory("a/.") && !says_directory("a"));
    }

    #[test]
    fn names_of_links() {
        let (path, name) = renamed("/link", "/real".into());
        assert_eq!((path.as_str(), name), ("/real", Some("link".into())));
        let (path, name) = renamed("/dir/.", "/real".into());
        assert_eq!((path.as_str(), name), ("/real/.", None));
    }
}
