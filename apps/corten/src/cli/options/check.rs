//! Checks of list options as they are read.

use super::limits;

/// Checks one value of the option `name`.
///
/// # Errors
/// docker's text.
pub(crate) fn list_value(name: &str, value: &str) -> Result<(), String> {
    match name {
        "attach" => match value.to_lowercase().as_str() {
            "stdin" | "stdout" | "stderr" => Ok(()),
            _ => Err("valid streams are STDIN, STDOUT and STDERR".into()),
        },
        "dns" => match value.trim().parse::<std::net::IpAddr>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!(
                "IP address is not correctly formatted: {}",
                value.trim()
            )),
        },
        "dns-search" => dns_search(value),
        "add-host" => add_host(value),
        "sysctl" => sysctl(value),
        "link" => link(value),
        "env" => match value.split_once('=') {
            Some(("", _)) => Err(format!("invalid environment variable: {value}")),
            _ if value.is_empty() => Err("invalid environment variable: ".into()),
            _ => Ok(()),
        },
        "label" => label(value),
        "blkio-weight-device" => limits::weight(value).map(drop),
        "device-read-bps" | "device-write-bps" => limits::throttle(value, true).map(drop),
        "device-read-iops" | "device-write-iops" => limits::throttle(value, false).map(drop),
        "device-cgroup-rule" => cgroup_rule(value),
        _ => Ok(()),
    }
}

fn label(value: &str) -> Result<(), String> {
    let key = value.split_once('=').map_or(value, |(key, _)| key);
    let key = key.trim_start_matches([' ', '\t']);
    if key.is_empty() {
        return Err(format!("invalid label '{value}': empty name"));
    }
    if key.contains([' ', '\t']) {
        return Err(format!("label '{key}' contains whitespaces"));
    }
    Ok(())
}

fn dns_search(value: &str) -> Result<(), String> {
    let value = value.trim();
    if value == "." {
        return Ok(());
    }
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    if !value.is_empty()
        && value.len() < 256
        && value.bytes().all(letter)
        && value.bytes().any(|b| b.is_ascii_alphabetic())
    {
        Ok(())
    } else {
        Err(format!("{value} is not a valid domain"))
    }
}

/// `name:address` or `name=address`.
fn add_host(value: &str) -> Result<(), String> {
    let (name, address) = match value.split_once('=') {
        Some(pair) => pair,
        None => match value.split_once(':') {
            Some(pair) => pair,
            None => return Err(format!("bad format for add-host: {value:?}")),
        },
    };
    if name.is_empty() || address.is_empty() {
        return Err(format!("bad format for add-host: {value:?}"));
    }
    if address == "host-gateway" {
        return Ok(());
    }
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    if bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {address:?}"));
    }
    Ok(())
}

/// `--add-host` as the API takes it: `name:address`, brackets left out.
pub(crate) fn host_entry(value: &str) -> String {
    let (name, address) = value
        .split_once('=')
        .or_else(|| value.split_once(':'))
        .unwrap_or((value, ""));
    let address = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    format!("{name}:{address}")
}

fn sysctl(value: &str) -> Result<(), String> {
    const PLAIN: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    if let Some((name, _)) = value.split_once('=')
        && (PLAIN.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue."))
    {
        return Ok(());
    }
    Err(format!("sysctl '{value}' is not allowed"))
}

fn link(value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err("empty string specified for links".into());
    }
    if value.split(':').count() > 2 {
        return Err(format!("bad format for links: {value}"));
    }
    Ok(())
}

/// `a|b|c major:minor permissions`.
fn cgroup_rule(value: &str) -> Result<(), String> {
    let invalid = || Err(format!("invalid device cgroup format '{value}'"));
    let words: Vec<&str> = value.split(' ').collect();
    let [kind, numbers, mode] = words[..] else {
        return invalid();
    };
    let number =
        |text: &str| text == "*" || (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    let numbers = numbers
        .split_once(':')
        .is_some_and(|(major, minor)| number(major) && number(minor));
    let mode = (1..=3).contains(&mode.len()) && mode.chars().all(|c| "rwm".contains(c));
    if matches!(kind, "a" | "b" | "c") && numbers && mode {
        Ok(())
    } else {
        invalid()
    }
}
