//! `--ulimit`, `--gpus`, block I/O and devices.

use dockerapi::{DeviceMapping, DeviceRequest, ThrottleDevice, Ulimit, WeightDevice};

use super::csv;
use crate::cli::values::{parse_int, parse_size};

const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `name=soft[:hard]`.
///
/// # Errors
/// docker's text.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit, String> {
    let Some((name, values)) = text.split_once('=') else {
        return Err(format!("invalid ulimit argument: {text}"));
    };
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let parts: Vec<&str> = values.split(':').collect();
    if parts.len() > 2 {
        return Err(format!(
            "too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
        ));
    }
    let number = |text: &str| {
        text.parse::<i64>()
            .map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
    };
    let soft = number(parts[0])?;
    let hard = match parts.get(1) {
        Some(hard) => number(hard)?,
        None => soft,
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(if soft == -1 {
            format!(
                "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}"
            )
        } else {
            format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
        });
    }
    Ok(Ulimit {
        name: name.into(),
        hard,
        soft,
    })
}

/// `all`, a number, or `device=…,capabilities=…`.
///
/// # Errors
/// docker's text.
pub(crate) fn gpus(text: &str) -> Result<DeviceRequest, String> {
    let count = |text: &str| -> Result<i64, String> {
        if text == "all" {
            return Ok(-1);
        }
        text.parse().map_err(|_| {
            format!(
                "invalid count ({text}): value must be either \"all\" or an integer: invalid syntax"
            )
        })
    };
    let mut request = DeviceRequest {
        options: Some(Default::default()),
        ..DeviceRequest::default()
    };
    let mut capabilities: Option<Vec<String>> = None;
    let mut seen: Vec<String> = Vec::new();
    for field in csv::fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => ("count".to_owned(), field.clone()),
        };
        if seen.contains(&key) {
            return Err(format!(
                "gpu request key '{key}' can be specified only once"
            ));
        }
        match key.as_str() {
            "driver" => request.driver = value,
            "count" => request.count = count(&value)?,
            "device" => request.device_ids = Some(value.split(',').map(str::to_owned).collect()),
            "capabilities" => {
                let mut all: Vec<String> = value.split(',').map(str::to_owned).collect();
                all.push("gpu".into());
                capabilities = Some(all);
            }
            "options" => {
                let options = request.options.get_or_insert_default();
                for option in csv::fields(&value)? {
                    let (name, value) = option.split_once('=').unwrap_or((&option, ""));
                    options.insert(name.into(), value.into());
                }
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
        seen.push(key);
    }
    if !seen.iter().any(|key| key == "count") && request.device_ids.is_none() {
        request.count = 1;
    }
    request.capabilities = Some(vec![capabilities.unwrap_or_else(|| vec!["gpu".into()])]);
    Ok(request)
}

/// `path:weight`.
///
/// # Errors
/// docker's text.
pub(crate) fn weight(text: &str) -> Result<WeightDevice, String> {
    let (path, value) = device_and_value(text)?;
    let invalid = || format!("invalid weight for device: {text}");
    let weight: u16 = value.parse().map_err(|_| invalid())?;
    if weight > 0 && !(10..=1000).contains(&weight) {
        return Err(invalid());
    }
    Ok(WeightDevice { path, weight })
}

/// `path:rate` in bytes or operations per second.
///
/// # Errors
/// docker's text.
pub(crate) fn throttle(text: &str, bytes: bool) -> Result<ThrottleDevice, String> {
    let (path, value) = device_and_value(text)?;
    let rate = if bytes {
        parse_size(value)
            .ok()
            .and_then(|rate| u64::try_from(rate).ok())
    } else {
        value.parse().ok()
    };
    let rate = rate.ok_or_else(|| {
        if bytes {
            format!("invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb")
        } else {
            format!("invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer")
        }
    })?;
    Ok(ThrottleDevice { path, rate })
}

fn device_and_value(text: &str) -> Result<(String, &str), String> {
    match text.split_once(':') {
        Some((path, _)) if !path.starts_with("/dev/") => {
            Err(format!("bad format for device path: {text}"))
        }
        Some((path, value)) if !path.is_empty() => Ok((path.to_owned(), value)),
        _ => Err(format!("bad format: {text}")),
    }
}

/// `host[:container][:permissions]`.
///
/// # Errors
/// docker's text.
pub(crate) fn device(text: &str) -> Result<DeviceMapping, String> {
    let valid_mode = |mode: &str| {
        !mode.is_empty()
            && mode.len() <= 3
            && mode.chars().all(|c| "rwm".contains(c))
            && (0..mode.len()).all(|n| !mode[n + 1..].contains(&mode[n..=n]))
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, mode) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, second] if valid_mode(second) => (host, host, second),
        [host, container] => (host, container, "rwm"),
        [host, container, mode] => (host, container, mode),
        _ => return Err(format!("invalid device specification: {text}")),
    };
    if !valid_mode(mode) {
        return Err(format!("bad mode specified: {mode}"));
    }
    if host.is_empty() || !container.starts_with('/') {
        return Err(format!("{container} is not an absolute path"));
    }
    Ok(DeviceMapping {
        path_on_host: host.into(),
        path_in_container: container.into(),
        cgroup_permissions: mode.into(),
    })
}

/// Whether `--device` names a device of the Container Device Interface: `vendor/class=name`.
pub(crate) fn is_cdi(text: &str) -> bool {
    !text.starts_with('/')
        && text
            .split_once('=')
            .is_some_and(|(kind, name)| kind.contains('/') && !name.is_empty())
}

/// `name[:retries]`.
///
/// # Errors
/// docker's text.
pub(crate) fn restart(text: &str) -> Result<dockerapi::RestartPolicy, String> {
    let (name, retries) = match text.split_once(':') {
        Some((name, retries)) => (name, Some(retries)),
        None => (text, None),
    };
    if name.is_empty() && retries.is_some() {
        return Err("invalid restart policy format: no policy provided before colon".into());
    }
    let maximum_retry_count = match retries {
        None | Some("") => 0,
        Some(retries) => parse_int(retries).map_err(|_| {
            "invalid restart policy format: maximum retry count must be an integer".to_owned()
        })?,
    };
    Ok(dockerapi::RestartPolicy {
        name: name.into(),
        maximum_retry_count,
    })
}

#[cfg(test)]
mod tests {
    use super::{device, gpus, ulimit};

    #[test]
    fn reads() {
        assert_eq!(ulimit("nofile=1:2").expect("valid").hard, 2);
        assert_eq!(ulimit("a").expect_err("form"), "invalid ulimit argument: a");
        assert_eq!(gpus("all").expect("valid").count, -1);
        let request = gpus("\"device=0,1\",capabilities=utility").expect("valid");
        assert_eq!(request.device_ids, Some(vec!["0".into(), "1".into()]));
        assert_eq!(request.count, 0);
        assert_eq!(gpus("a=b").expect_err("key"), "unexpected key 'a' in 'a=b'");
        assert_eq!(device("/dev/a:r").expect("valid").cgroup_permissions, "r");
        assert_eq!(
            device("/dev/a:/b:rr").expect_err("mode"),
            "bad mode specified: rr"
        );
    }
}
