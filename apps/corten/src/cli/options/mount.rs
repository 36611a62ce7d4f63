//! `--mount`.

use dockerapi::{
    BindOptions, ImageOptions, MountSpec, TmpfsOptions, VolumeDriverConfig, VolumeOptions,
};

use super::csv;
use crate::cli::values::{parse_bool, parse_size};

/// Reads one `--mount`.
///
/// # Errors
/// docker's text.
pub(crate) fn parse(text: &str) -> Result<MountSpec, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("value is empty".into());
    }
    let mut mount = MountSpec {
        kind: "volume".into(),
        ..MountSpec::default()
    };
    let mut parts = Parts::default();
    for field in csv::fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), value.to_owned()),
            None => match field.to_lowercase().as_str() {
                key @ ("readonly" | "ro" | "volume-nocopy" | "bind-nonrecursive"
                | "bind-create-src") => (key.to_owned(), "true".to_owned()),
                _ => {
                    return Err(format!("invalid field '{field}' must be a key=value pair"));
                }
            },
        };
        apply(&mut mount, &mut parts, &key, value, &field)?;
    }
    finish(mount, parts)
}

#[derive(Default)]
struct Parts {
    bind: Option<BindOptions>,
    volume: Option<VolumeOptions>,
    tmpfs: Option<TmpfsOptions>,
    image: Option<ImageOptions>,
}

fn apply(
    mount: &mut MountSpec,
    parts: &mut Parts,
    key: &str,
    value: String,
    field: &str,
) -> Result<(), String> {
    let switch =
        |value: &str| parse_bool(value).map_err(|_| format!("invalid value for {key}: {value}"));
    match key {
        "type" => mount.kind = value.to_lowercase(),
        "source" | "src" => mount.source = absolute(value)?,
        "target" | "dst" | "destination" => mount.target = value,
        "readonly" | "ro" => mount.read_only = switch(&value)?,
        "consistency" => mount.consistency = value.to_lowercase(),
        "bind-propagation" => bind(parts).propagation = value.to_lowercase(),
        "bind-nonrecursive" => bind(parts).non_recursive = switch(&value)?,
        "bind-create-src" => bind(parts).create_mountpoint = switch(&value)?,
        "bind-recursive" => match value.as_str() {
            "enabled" => {}
            "disabled" => bind(parts).non_recursive = true,
            "writable" => bind(parts).read_only_non_recursive = true,
            "readonly" => bind(parts).read_only_force_recursive = true,
            _ => {
                return Err(format!(
                    "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                ));
            }
        },
        "volume-subpath" => volume(parts).subpath = value,
        "volume-nocopy" => {
            volume(parts).no_copy = parse_bool(&value)
                .map_err(|_| format!("invalid value for volume-nocopy: {value}"))?;
        }
        "volume-label" => {
            let (name, text) = value.split_once('=').unwrap_or((&value, ""));
            volume(parts).labels.insert(name.into(), text.into());
        }
        "volume-driver" => driver(parts).name = value,
        "volume-opt" => {
            let (name, text) = value.split_once('=').unwrap_or((&value, ""));
            driver(parts).options.insert(name.into(), text.into());
        }
        "tmpfs-size" => {
            tmpfs(parts).size_bytes =
                parse_size(&value).map_err(|_| format!("invalid value for {key}: {value}"))?;
        }
        "tmpfs-mode" => {
            tmpfs(parts).mode = u32::from_str_radix(&value, 8)
                .map_err(|_| format!("invalid value for {key}: {value}"))?;
        }
        "image-subpath" => parts.image.get_or_insert_default().subpath = value,
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn bind(parts: &mut Parts) -> &mut BindOptions {
    parts.bind.get_or_insert_default()
}

fn volume(parts: &mut Parts) -> &mut VolumeOptions {
    parts.volume.get_or_insert_default()
}

fn driver(parts: &mut Parts) -> &mut VolumeDriverConfig {
    volume(parts).driver_config.get_or_insert_default()
}

fn tmpfs(parts: &mut Parts) -> &mut TmpfsOptions {
    parts.tmpfs.get_or_insert_default()
}

fn finish(mut mount: MountSpec, parts: Parts) -> Result<MountSpec, String> {
    if mount.kind.is_empty() {
        return Err("type is required".into());
    }
    if mount.target.is_empty() {
        return Err("target is required".into());
    }
    let mixed = |what: &str| {
        Err(format!(
            "cannot mix '{what}' options with mount type '{}'",
            mount.kind
        ))
    };
    if parts.volume.is_some() && mount.kind != "volume" {
        return mixed("volume-*");
    }
    if parts.bind.is_some() && mount.kind != "bind" {
        return mixed("bind-*");
    }
    if parts.tmpfs.is_some() && mount.kind != "tmpfs" {
        return mixed("tmpfs-*");
    }
    if parts.image.is_some() && mount.kind != "image" {
        return mixed("image-*");
    }
    if let Some(bind) = &parts.bind {
        let needs = |option: &str, other: &str| {
            Err(format!(
                "option '{option}' requires '{other}' to be specified in conjunction"
            ))
        };
        if bind.read_only_non_recursive && !mount.read_only {
            return needs("bind-recursive=writable", "readonly");
        }
        if bind.read_only_force_recursive && !mount.read_only {
            return needs("bind-recursive=readonly", "readonly");
        }
        if bind.read_only_force_recursive && bind.propagation != "rprivate" {
            return needs("bind-recursive=readonly", "bind-propagation=rprivate");
        }
    }
    mount.bind_options = parts.bind;
    mount.volume_options = parts.volume;
    mount.tmpfs_options = parts.tmpfs;
    mount.image_options = parts.image;
    Ok(mount)
}

/// Sources that begin with a dot are taken from the working directory.
pub(super) fn absolute(source: String) -> Result<String, String> {
    if source != "." && !source.starts_with("./") && source != ".." && !source.starts_with("../") {
        return Ok(source);
    }
    let here = std::env::current_dir().map_err(|error| error.to_string())?;
    Ok(clean(&here.join(&source)))
}

/// Go's `filepath.Clean` of an absolute path.
pub(crate) fn clean(path: &std::path::Path) -> String {
    use std::path::Component;
    let mut parts: Vec<String> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => {
                parts.pop();
            }
            _ => {}
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads() {
        let mount = parse("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave").expect("valid");
        assert!(mount.read_only);
        assert_eq!(mount.bind_options.expect("set").propagation, "rslave");
        for (text, error) in [
            ("type=x", "target is required"),
            ("foo", "invalid field 'foo' must be a key=value pair"),
            ("foo=1,dst=/", "unexpected key 'foo' in 'foo=1'"),
            (
                "type=tmpfs,dst=/a,volume-nocopy",
                "cannot mix 'volume-*' options with mount type 'tmpfs'",
            ),
            ("dst=/a,ro=x", "invalid value for ro: x"),
        ] {
            assert_eq!(parse(text).expect_err(text), error);
        }
    }
}
