//! Binds, `--mount`, `--tmpfs` and the image's volumes → what is mounted in a container.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Component, Path, PathBuf};

use dockerapi::{ContainerConfig, HostConfig, MountPoint, MountSpec};

use crate::record::Mounted;
use crate::{Error, Inner, Result};

const SUBPATH: &str = "subpath must be a relative path within the volume";
const PROPAGATION: [&str; 6] = [
    "private", "rprivate", "shared", "rshared", "slave", "rslave",
];

/// Everything that is mounted, by destination. Named volumes have their name and no source yet;
/// anonymous ones neither.
///
/// # Errors
/// Invalid parameter, with moby's texts.
pub(crate) fn plan(
    config: &ContainerConfig,
    host: &HostConfig,
    inherited: Vec<Mounted>,
) -> Result<Vec<Mounted>> {
    let mut mounts: BTreeMap<String, Mounted> = BTreeMap::new();
    let mut add = |mounted: Mounted| {
        let destination = mounted.point.destination.clone();
        match mounts.insert(destination.clone(), mounted) {
            Some(_) => Err(Error::invalid(format!(
                "Duplicate mount point: {destination}"
            ))),
            None => Ok(()),
        }
    };
    for bind in host.binds.iter().flatten() {
        let mounted = parse_bind(bind)?;
        driver(host, &mounted)?;
        add(mounted)?;
    }
    for spec in &host.mounts {
        add(from_spec(spec)?)?;
    }
    for (path, options) in &host.tmpfs {
        if let Some(problem) = target_problem(path) {
            return Err(Error::invalid(problem));
        }
        add(tmpfs(
            path,
            options
                .split(',')
                .filter(|o| !o.is_empty())
                .map(str::to_owned)
                .collect(),
        )?)?;
    }
    // What is asked for here comes before what others have, and that before the image's volumes.
    for mounted in inherited {
        mounts
            .entry(mounted.point.destination.clone())
            .or_insert(mounted);
    }
    for path in config.volumes.iter().flatten().map(|(path, _)| path) {
        let destination = clean(path)?;
        if let Entry::Vacant(free) = mounts.entry(destination) {
            let mounted = anonymous(free.key().clone());
            driver(host, &mounted)?;
            free.insert(mounted);
        }
    }
    Ok(mounts.into_values().collect())
}

/// `--volumes-from`: the mounts of other containers, by destination; later ones replace earlier.
///
/// # Errors
/// Invalid parameter, also for containers that do not exist.
pub(crate) fn inherited(inner: &Inner, host: &HostConfig) -> Result<Vec<Mounted>> {
    let mut mounts: BTreeMap<String, Mounted> = BTreeMap::new();
    for text in host.volumes_from.iter().flatten() {
        let (name, mode) = text.split_once(':').unwrap_or((text, ""));
        if text.is_empty() {
            return Err(Error::invalid(
                "volumes-from specification cannot be an empty string",
            ));
        }
        let mut words = mode.split(',').filter(|word| !word.is_empty());
        if !words.all(|word| matches!(word, "ro" | "rw" | "z" | "Z")) {
            return Err(Error::invalid(format!("invalid mode: {mode}")));
        }
        let read_only = mode.split(',').any(|word| word == "ro");
        let other = inner.containers.find(name);
        let other = other
            .map_err(|error| Error::invalid(error.message))?
            .record();
        let shared = other
            .mounts
            .iter()
            .filter(|mounted| !other.host.tmpfs.contains_key(&mounted.point.destination));
        for mounted in shared {
            let mut mounted = mounted.clone();
            mounted.point.rw &= !read_only;
            mounted.point.mode.clear();
            mounted.copy_up = false;
            mounts.insert(mounted.point.destination.clone(), mounted);
        }
    }
    Ok(mounts.into_values().collect())
}

/// `--volume-driver` concerns the volumes of `-v` alone, and there is only one driver.
fn driver(host: &HostConfig, mounted: &Mounted) -> Result<()> {
    match host.volume_driver.as_str() {
        "" | "local" => Ok(()),
        _ if mounted.point.kind != "volume" => Ok(()),
        // "Not found" would have the client pull the image.
        other => Err(Error::invalid(format!(
            "error looking up volume plugin {other}: plugin \"{other}\" not found"
        ))),
    }
}

/// `source:destination[:options]`, or a volume's destination alone.
pub(crate) fn parse_bind(text: &str) -> Result<Mounted> {
    let invalid = || Error::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.splitn(4, ':').collect();
    let (source, destination, mode) = match parts.as_slice() {
        ["", ..] => return Err(invalid()),
        [destination] => ("", *destination, ""),
        // A volume without a name has no mode.
        [_, mode] if valid_mode(mode) => return Err(invalid()),
        [source, destination] => (*source, *destination, ""),
        [source, destination, mode] => (*source, *destination, *mode),
        _ => return Err(invalid()),
    };
    if !valid_mode(mode) {
        return Err(Error::invalid(format!("invalid mode: {mode}")));
    }
    let is_bind = source.starts_with('/');
    let kind = if is_bind { "bind" } else { "volume" };
    let words = || mode.split(',').filter(|word| !word.is_empty());
    let propagation = words().find(|word| PROPAGATION.contains(word));
    let problem = if !is_bind && propagation.is_some() {
        Some("field BindOptions must not be specified".to_owned())
    } else if is_bind && words().any(|word| word == "nocopy") {
        Some("field VolumeOptions must not be specified".to_owned())
    } else {
        target_problem(destination)
    };
    if let Some(problem) = problem {
        return Err(Error::invalid(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"{kind}\": \
             {problem}"
        )));
    }
    let destination = clean(destination)?;
    let mut mounted = match (source, is_bind) {
        ("", _) => return Ok(anonymous(destination)),
        (source, true) => bind(clean(source)?, destination, true),
        (source, false) => {
            volume_name(source)?;
            volume(source, destination)
        }
    };
    mounted.point.mode = mode.to_owned();
    mounted.point.rw = words().all(|word| word != "ro");
    mounted.copy_up &= words().all(|word| word != "nocopy");
    if let Some(propagation) = propagation {
        mounted.point.propagation = propagation.to_owned();
    }
    Ok(mounted)
}

/// At most one word of each kind.
fn valid_mode(mode: &str) -> bool {
    const KINDS: [&[&str]; 5] = [
        &["rw", "ro"],
        &["z", "Z"],
        &PROPAGATION,
        &["nocopy"],
        &["consistent", "cached", "delegated"],
    ];
    let mut seen = [0; KINDS.len()];
    let all = mode.is_empty()
        || mode.split(',').all(|word| {
            let kind = KINDS.iter().position(|kind| kind.contains(&word));
            kind.is_some_and(|kind| {
                seen[kind] += 1;
                true
            })
        });
    all && seen.iter().all(|count| *count <= 1)
}

/// Where nothing can be mounted.
fn target_problem(target: &str) -> Option<String> {
    let is_root = Path::new(target)
        .components()
        .all(|part| part == Component::RootDir);
    if is_root && target.starts_with('/') {
        return Some("invalid specification: destination can't be '/'".into());
    }
    (!target.starts_with('/'))
        .then(|| format!("invalid mount path: '{target}' mount path must be absolute"))
}

pub(crate) fn from_spec(spec: &MountSpec) -> Result<Mounted> {
    let invalid = |reason: &str| {
        Error::invalid(format!(
            "invalid mount config for type \"{}\": {reason}",
            spec.kind
        ))
    };
    let extra = [
        (spec.bind_options.is_some(), "bind", "BindOptions"),
        (spec.volume_options.is_some(), "volume", "VolumeOptions"),
        (spec.image_options.is_some(), "image", "ImageOptions"),
        (spec.tmpfs_options.is_some(), "tmpfs", "TmpfsOptions"),
    ];
    let extra = extra
        .iter()
        .find(|(set, kind, _)| *set && spec.kind != *kind);
    if let Some((_, _, field)) = extra {
        return Err(invalid(&format!("field {field} must not be specified")));
    }
    if spec.target.is_empty() {
        return Err(invalid("field Target must not be empty"));
    }
    if let Some(problem) = target_problem(&spec.target) {
        return Err(invalid(&problem));
    }
    let target = clean(&spec.target)?;
    let mut mounted = match spec.kind.as_str() {
        "bind" => from_bind_spec(spec, target)?,
        "volume" => from_volume_spec(spec, target)?,
        "tmpfs" => {
            if !spec.source.is_empty() {
                return Err(invalid("field Source must not be specified"));
            }
            let options = spec.tmpfs_options.clone().unwrap_or_default();
            let mut words = Vec::new();
            if options.size_bytes != 0 {
                words.push(format!("size={}", options.size_bytes));
            }
            if options.mode != 0 {
                words.push(format!("mode={:o}", options.mode));
            }
            for option in &options.options {
                match option.as_slice() {
                    [] | [_, _, _, ..] => return Err(invalid("invalid option array length")),
                    [key, ..] if !matches!(key.as_str(), "exec" | "noexec") => {
                        return Err(invalid(&format!("invalid option: {key}")));
                    }
                    some => words.push(some.join("=")),
                }
            }
            tmpfs(&target, words)?
        }
        "image" => from_image_spec(spec, target)?,
        "cluster" | "npipe" => {
            let kind = &spec.kind;
            return Err(Error::not_implemented(format!(
                "mounts of type {kind:?} are not supported yet"
            )));
        }
        _ => return Err(invalid("mount type unknown")),
    };
    mounted.point.rw = !spec.read_only && spec.kind != "image";
    Ok(mounted)
}

fn from_bind_spec(spec: &MountSpec, target: String) -> Result<Mounted> {
    let invalid =
        |reason: &str| Error::invalid(format!("invalid mount config for type \"bind\": {reason}"));
    if spec.source.is_empty() {
        return Err(invalid("field Source must not be empty"));
    }
    if !spec.source.starts_with('/') {
        let source = &spec.source;
        return Err(invalid(&format!(
            "invalid mount path: '{source}' mount path must be absolute"
        )));
    }
    let options = spec.bind_options.clone().unwrap_or_default();
    let source = clean(&spec.source)?;
    if !options.create_mountpoint && !Path::new(&source).exists() {
        return Err(invalid(&format!(
            "bind source path does not exist: {source}"
        )));
    }
    let mut mounted = bind(source, target, options.create_mountpoint);
    if !options.propagation.is_empty() {
        if !PROPAGATION.contains(&options.propagation.as_str()) {
            return Err(invalid(&format!(
                "invalid propagation mode: {}",
                options.propagation
            )));
        }
        mounted.point.propagation = options.propagation;
    }
    mounted.non_recursive = options.non_recursive;
    if spec.read_only && !options.read_only_non_recursive {
        mounted.options.push("rro".into());
    }
    Ok(mounted)
}

/// Another image's files. They are not for writing, asked or not.
fn from_image_spec(spec: &MountSpec, target: String) -> Result<Mounted> {
    let invalid =
        |reason: &str| Error::invalid(format!("invalid mount config for type \"image\": {reason}"));
    if spec.source.is_empty() {
        return Err(invalid("field Source must not be empty"));
    }
    let subpath = spec.image_options.clone().unwrap_or_default().subpath;
    if !is_local(&subpath) {
        return Err(invalid(SUBPATH));
    }
    let mut mounted = bind(spec.source.clone(), target, false);
    mounted.point.kind = "image".into();
    mounted.subpath = subpath;
    Ok(mounted)
}

/// Go's `filepath.IsLocal`, and nothing at all.
fn is_local(subpath: &str) -> bool {
    let parts = Path::new(subpath).components();
    parts
        .into_iter()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

fn from_volume_spec(spec: &MountSpec, target: String) -> Result<Mounted> {
    let invalid = |reason: &str| {
        Error::invalid(format!(
            "invalid mount config for type \"volume\": {reason}"
        ))
    };
    let options = spec.volume_options.clone().unwrap_or_default();
    if let Some(driver) = &options.driver_config
        && (!matches!(driver.name.as_str(), "" | "local") || !driver.options.is_empty())
    {
        return Err(Error::not_implemented(
            "volume drivers and their options are not supported yet",
        ));
    }
    if !options.subpath.is_empty() && spec.source.is_empty() {
        return Err(invalid("must not set Subpath when using anonymous volumes"));
    }
    if !is_local(&options.subpath) {
        return Err(invalid(SUBPATH));
    }
    let mut mounted = if spec.source.is_empty() {
        anonymous(target)
    } else {
        volume_name(&spec.source)?;
        volume(&spec.source, target)
    };
    mounted.copy_up = !options.no_copy;
    mounted.subpath = options.subpath;
    mounted.labels = options.labels;
    Ok(mounted)
}

fn bind(source: String, destination: String, create_source: bool) -> Mounted {
    let point = MountPoint {
        kind: "bind".into(),
        source,
        destination,
        rw: true,
        propagation: "rprivate".into(),
        ..MountPoint::default()
    };
    Mounted {
        point,
        create_source,
        ..Mounted::default()
    }
}

fn volume(name: &str, destination: String) -> Mounted {
    let point = MountPoint {
        kind: "volume".into(),
        name: name.to_owned(),
        destination,
        driver: "local".into(),
        mode: "z".into(),
        rw: true,
        ..MountPoint::default()
    };
    Mounted {
        point,
        copy_up: true,
        ..Mounted::default()
    }
}

fn anonymous(destination: String) -> Mounted {
    let mut mounted = volume("", destination);
    mounted.anonymous = true;
    mounted.point.mode.clear();
    mounted
}

fn tmpfs(path: &str, options: Vec<String>) -> Result<Mounted> {
    const FLAGS: [&str; 14] = [
        "ro",
        "rw",
        "exec",
        "noexec",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "sync",
        "async",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
    ];
    const KEYS: [&str; 6] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"];
    for option in &options {
        let key = option.split('=').next().unwrap_or_default();
        let known = FLAGS.contains(&option.as_str())
            || matches!(
                option.as_str(),
                "relatime" | "norelatime" | "strictatime" | "nostrictatime" | "huge"
            )
            || PROPAGATION.contains(&option.as_str())
            || (option.contains('=') && (KEYS.contains(&key) || matches!(key, "mpol" | "huge")));
        if !known {
            return Err(Error::invalid(format!("invalid tmpfs option {option:?}")));
        }
    }
    let point = MountPoint {
        kind: "tmpfs".into(),
        destination: clean(path)?,
        rw: !options.iter().any(|option| option == "ro"),
        ..MountPoint::default()
    };
    Ok(Mounted {
        point,
        options,
        ..Mounted::default()
    })
}

fn volume_name(name: &str) -> Result<()> {
    let bytes = name.as_bytes();
    let fine = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if bytes.len() >= 2 && bytes[0].is_ascii_alphanumeric() && bytes.iter().all(fine) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use \
         absolute path"
    )))
}

/// Go's `filepath.Clean` of an absolute path.
pub(crate) fn clean(path: &str) -> Result<String> {
    if !path.starts_with('/') {
        return Err(Error::invalid(format!(
            "invalid mount path: '{path}' mount path must be absolute"
        )));
    }
    let mut clean = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    Ok(clean.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use dockerapi::{ContainerConfig, HostConfig, MountSpec};

    fn binds(list: &[&str]) -> crate::Result<Vec<super::Mounted>> {
        let binds = Some(list.iter().map(|&text| text.to_owned()).collect());
        super::plan(
            &ContainerConfig::default(),
            &HostConfig {
                binds,
                ..HostConfig::default()
            },
            Vec::new(),
        )
    }

    #[test]
    fn bind_forms() {
        let all = binds(&["/a/../b:/x:ro,rslave", "data:/y", "/z"]).expect("valid");
        let text: Vec<_> = all
            .iter()
            .map(|m| {
                (
                    m.point.kind.as_str(),
                    m.point.source.as_str(),
                    m.point.name.as_str(),
                    m.point.rw,
                )
            })
            .collect();
        assert_eq!(
            text,
            [
                ("bind", "/b", "", false),
                ("volume", "", "data", true),
                ("volume", "", "", true)
            ]
        );
        assert_eq!(all[0].point.propagation, "rslave");
        assert!(all[2].anonymous);
    }

    #[test]
    fn refused() {
        for bad in [
            "/a:b",
            "a b:/x",
            ":/x",
            "/a:",
            "/a:/b:ro,rw",
            "/a:/b:bogus",
            "/a:/b:ro:x",
        ] {
            assert!(binds(&[bad]).is_err(), "{bad:?}");
        }
        assert_eq!(
            binds(&["/a:/x", "/b:/x/"]).expect_err("twice").message,
            "Duplicate mount point: /x"
        );
    }

    #[test]
    fn missing_bind_source_of_a_mount() {
        let spec = MountSpec {
            kind: "bind".into(),
            source: "/no/such/thing".into(),
            target: "/x".into(),
            ..MountSpec::default()
        };
        let host = HostConfig {
            mounts: vec![spec],
            ..HostConfig::default()
        };
        let error =
            super::plan(&ContainerConfig::default(), &host, Vec::new()).expect_err("missing");
        assert_eq!(
            error.message,
            "invalid mount config for type \"bind\": bind source path does not exist: /no/such/thing"
        );
    }
}
