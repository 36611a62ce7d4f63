//! Names of units, and where their cgroups are.

use crate::{Error, Result};

const SLICE: &str = ".slice";

/// A scope in a slice, or a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    name: String,
    slice: String,
    path: String,
}

impl Unit {
    /// From `slice:prefix:name`; an empty slice is `default`, and a name that ends in `.slice` is a
    /// slice itself.
    pub fn parse(text: &str, default: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let [slice, prefix, name] = parts.as_slice() else {
            return Err(Error::new(format!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, \
                 got {text:?} instead"
            )));
        };
        let name = match name.ends_with(SLICE) {
            true => (*name).to_owned(),
            false => format!("{prefix}-{name}.scope"),
        };
        let slice = if slice.is_empty() { default } else { slice };
        Self::new(&name, slice)
    }

    /// The unit that a `cgroupsPath` names; `None` for a path in the hierarchies, which is from the
    /// root or has no colon.
    pub fn of_path(path: &str, default: &str) -> Result<Option<Self>> {
        match path.contains(':') && !path.starts_with('/') {
            true => Self::parse(path, default).map(Some),
            false => Ok(None),
        }
    }

    /// A unit by its full name.
    pub fn new(name: &str, slice: &str) -> Result<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
        // unit-name.h: what systemd takes is not longer than a file name either.
        if name.len() > 255 || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(Error::new(format!("invalid unit name {name:?}")));
        }
        let mut path = match name.ends_with(SLICE) {
            // Its name says where it is, whatever it wants.
            true => expand(name)?,
            false => format!("{}/{name}", expand(slice)?),
        };
        expand(slice)?;
        if path.starts_with('/') {
            path.remove(0);
        }
        Ok(Self {
            name: name.to_owned(),
            slice: slice.to_owned(),
            path,
        })
    }

    /// As `docker-1234.scope`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The slice it is in, or wants.
    pub fn slice(&self) -> &str {
        &self.slice
    }

    /// It takes no processes when it is started.
    pub fn is_slice(&self) -> bool {
        self.name.ends_with(SLICE)
    }

    /// Its cgroup below its manager's.
    pub fn path(&self) -> String {
        self.path.clone()
    }
}

/// `a-b.slice` is at `a.slice/a-b.slice`, `-.slice` at the root.
fn expand(slice: &str) -> Result<String> {
    let invalid = || Error::new(format!("invalid slice name: {slice}"));
    let stem = slice.strip_suffix(SLICE).ok_or_else(invalid)?;
    if stem == "-" {
        return Ok(String::new());
    }
    if stem.is_empty() || stem.contains('/') || stem.split('-').any(str::is_empty) {
        return Err(invalid());
    }
    let ends = stem.match_indices('-').map(|(at, _)| at);
    let parts = ends.chain([stem.len()]).filter_map(|end| stem.get(..end));
    let parts: Vec<String> = parts.map(|part| format!("{part}{SLICE}")).collect();
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> String {
        Unit::parse(text, "system.slice").unwrap().path()
    }

    #[test]
    fn where_they_are() {
        assert_eq!(path(":docker:1"), "system.slice/docker-1.scope");
        assert_eq!(
            path("a-b-c.slice:x:y"),
            "a.slice/a-b.slice/a-b-c.slice/x-y.scope"
        );
        assert_eq!(path("-.slice:x:y"), "x-y.scope");
        assert_eq!(path("a.slice:x:b-c.slice"), "b.slice/b-c.slice");
        assert!(Unit::parse("::a.slice", "system.slice").unwrap().is_slice());
    }

    #[test]
    fn paths_are_no_units() {
        let unit = |path| Unit::of_path(path, "system.slice");
        assert_eq!(unit("/a/b:c").unwrap(), None);
        assert_eq!(unit("a/b").unwrap(), None);
        assert_eq!(unit(":a:b").unwrap().unwrap().name(), "a-b.scope");
        assert!(unit("a:b").is_err());
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "/a/b",
            "a:b",
            "a:b:c:d",
            "a:b:c",
            ".slice:b:c",
            "a--b.slice:x:y",
            "-a.slice:x:y",
            "a/b.slice:x:y",
            "a.slice:x:y/z",
            "a.slice:x:y z",
            "a.slice:.x:y",
        ] {
            assert!(Unit::parse(text, "system.slice").is_err(), "{text}");
        }
    }
}
