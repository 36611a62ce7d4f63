//! Paths of entries: bytes between slashes.

use crate::Error;
use crate::format::LONGEST_NAME;

/// Symbolic links that are followed in one path, as the kernel's `MAXSYMLINKS`.
const MOST_LINKS: u32 = 40;

/// Names of a path; empty ones and `.` are dropped.
pub(crate) fn components(path: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let names = path.split(|byte| *byte == b'/');
    let names = names.filter(|name| !matches!(*name, b"" | b"."));
    names
        .map(|name| match name {
            b".." => Err(Error::invalid(path, "would be outside of the root")),
            name if name.contains(&0) => Err(Error::invalid(path, "not a path")),
            name if name.len() > LONGEST_NAME => Err(Error::invalid(path, "a name is too long")),
            name => Ok(name),
        })
        .collect()
}

/// Names of the parents, and the last one.
type Split<'a> = (Vec<&'a [u8]>, Option<&'a [u8]>);

/// Parent and last name; no name for the root itself.
pub(crate) fn split(path: &[u8]) -> Result<Split<'_>, Error> {
    let mut names = components(path)?;
    let last = names.pop();
    Ok((names, last))
}

/// What is still to be walked, links' targets put in where they are met.
pub(crate) struct Way {
    /// Last first. The flag tells names that come from a link.
    rest: Vec<(Box<[u8]>, bool)>,
    links: u32,
}

impl Way {
    pub(crate) fn new(components: &[&[u8]]) -> Self {
        let rest = components.iter().rev();
        Self {
            rest: rest.map(|name| (Box::from(*name), false)).collect(),
            links: 0,
        }
    }

    pub(crate) fn next(&mut self) -> Option<(Box<[u8]>, bool)> {
        self.rest.pop()
    }

    /// `None` when it has been too many.
    pub(crate) fn follow(&mut self, target: &[u8]) -> Option<()> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return None;
        }
        let names = target.split(|byte| *byte == b'/').rev();
        let names = names.filter(|name| !matches!(*name, b"" | b"."));
        self.rest.extend(names.map(|name| (Box::from(name), true)));
        Some(())
    }
}
