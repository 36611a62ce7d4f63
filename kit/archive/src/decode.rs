//! What an entry says, whoever asks: extraction or an index.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use crate::Error;
use crate::metadata::Metadata;

/// What whiteouts' names begin with (image-spec, layer.md#whiteouts).
pub(crate) const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Leftovers of AUFS.
const AUFS: &[u8] = b".wh..wh.";
pub(crate) const LONGEST_PATH: usize = 4096;

/// What a whiteout hides of the layers below.
pub(crate) enum Hides<'a> {
    /// What has this name beside it.
    Name(&'a [u8]),
    /// All that its directory has.
    Everything,
    /// It is AUFS's own.
    Nothing,
}

/// What an entry of this name hides; `None` when it is no whiteout.
pub(crate) fn whiteout<'a>(name: &'a [u8], shown: &str) -> Result<Option<Hides<'a>>, Error> {
    Ok(match name.strip_prefix(WHITEOUT) {
        None => None,
        Some(_) if name == OPAQUE => Some(Hides::Everything),
        Some(_) if name.starts_with(AUFS) => Some(Hides::Nothing),
        Some(b"" | b"." | b"..") => {
            return Err(Error::Entry {
                path: shown.to_owned(),
                reason: "not a whiteout".into(),
            });
        }
        Some(hidden) => Some(Hides::Name(hidden)),
    })
}

/// Major and minor number.
pub(crate) fn device<R: Read>(entry: &tar::Entry<'_, R>) -> Result<(u32, u32), Error> {
    let header = entry.header();
    // Some archivers leave fields empty, which other readers take for zero.
    let number = |field: Option<&[u8; 8]>, n: std::io::Result<Option<u32>>| match n {
        Err(_) if field.is_some_and(|field| field.iter().all(|byte| matches!(byte, 0 | b' '))) => {
            Ok(0)
        }
        n => n.map(Option::unwrap_or_default).map_err(Error::Malformed),
    };
    let ustar = header
        .as_ustar()
        .map(|header| (&header.dev_major, &header.dev_minor));
    let gnu = header
        .as_gnu()
        .map(|header| (&header.dev_major, &header.dev_minor));
    let (major, minor) = ustar.or(gnu).unzip();
    Ok((
        number(major, header.device_major())?,
        number(minor, header.device_minor())?,
    ))
}

/// Owner, mode, times and attributes of an entry.
pub(crate) fn metadata<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    shown: &str,
) -> Result<Metadata, Error> {
    let invalid = |reason: std::io::Error| Error::Entry {
        path: shown.to_owned(),
        reason: reason.to_string(),
    };
    let header = entry.header();
    let old = header.as_old();
    let owner = |n: u64, what: &str| {
        u32::try_from(n).map_err(|_| Error::Entry {
            path: shown.to_owned(),
            reason: format!("{what} {n} is out of range"),
        })
    };
    // Some archivers leave fields empty, which other readers take for zero.
    let or_zero = |field: &[u8], value: std::io::Result<u64>| match value {
        Err(_) if field.iter().all(|byte| matches!(byte, 0 | b' ')) => Ok(0),
        value => value.map_err(invalid),
    };
    let mtime = or_zero(&old.mtime, header.mtime())?;
    let (mut uid, mut gid) = (
        or_zero(&old.uid, header.uid())?,
        or_zero(&old.gid, header.gid())?,
    );
    let mut metadata = Metadata {
        mode: u32::try_from(or_zero(&old.mode, header.mode().map(u64::from))?).unwrap_or_default(),
        owner: None,
        mtime: (i64::try_from(mtime).unwrap_or(i64::MAX), 0),
        xattrs: Vec::new(),
    };
    if let Some(extensions) = entry.pax_extensions().map_err(invalid)? {
        for extension in extensions {
            let extension = extension.map_err(invalid)?;
            let Ok(key) = extension.key() else { continue };
            let text = || String::from_utf8_lossy(extension.value_bytes()).into_owned();
            match key {
                "mtime" => metadata.mtime = pax_time(&text()).unwrap_or(metadata.mtime),
                "uid" => uid = text().parse().unwrap_or(u64::MAX),
                "gid" => gid = text().parse().unwrap_or(u64::MAX),
                // Their content begins with a map that would be taken for content.
                _ if key.starts_with("GNU.sparse.") => {
                    return Err(Error::Entry {
                        path: shown.to_owned(),
                        reason: "sparse files in PAX format are not supported".into(),
                    });
                }
                _ => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                        // overlayfs's own marks are ours to make.
                        if !name.starts_with("trusted.overlay.") {
                            let value = extension.value_bytes().to_vec();
                            metadata.xattrs.push((name.to_owned(), value));
                        }
                    }
                }
            }
        }
    }
    metadata.owner = Some((owner(uid, "user")?, owner(gid, "group")?));
    Ok(metadata)
}

/// Where a link leads, to the byte.
pub(crate) fn link_name<R: Read>(entry: &tar::Entry<'_, R>, shown: &str) -> Result<PathBuf, Error> {
    match entry.link_name_bytes() {
        Some(name) if !name.is_empty() && name.len() < LONGEST_PATH => {
            Ok(Path::new(OsStr::from_bytes(&name)).to_path_buf())
        }
        _ => Err(Error::Entry {
            path: shown.to_owned(),
            reason: "a link without a target".into(),
        }),
    }
}

/// The path relative to the root: leading slashes and `.` are dropped, `..` takes the name before it
/// back (as docker cleans paths, whatever links are there) and is refused where there is none.
pub(crate) fn inside(bytes: &[u8]) -> Result<PathBuf, Error> {
    let shown = || String::from_utf8_lossy(bytes).into_owned();
    if bytes.len() >= LONGEST_PATH || bytes.contains(&0) {
        let reason = "not a path".to_owned();
        return Err(Error::Entry {
            path: shown(),
            reason,
        });
    }
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(bytes)).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if !path.pop() => return Err(Error::Escape(shown())),
            _ => {}
        }
    }
    Ok(path)
}

/// `1700000000.123456789`.
fn pax_time(text: &str) -> Option<(i64, i64)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    Some((seconds.parse().ok()?, digits.parse().ok()?))
}
