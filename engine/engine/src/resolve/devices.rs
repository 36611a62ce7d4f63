//! Texts that name devices.

use oci::runtime::DeviceRule;

use crate::{Error, Result};

/// Numbers of the block device at a host path.
pub(super) fn block_numbers(path: &str) -> Result<(i64, i64)> {
    let facts = rustix::fs::stat(path)
        .map_err(|error| Error::invalid(format!("device {path}: {error}")))?;
    if rustix::fs::FileType::from_raw_mode(facts.st_mode) != rustix::fs::FileType::BlockDevice {
        return Err(Error::invalid(format!("{path} is not a block device")));
    }
    let (major, minor) = (
        rustix::fs::major(facts.st_rdev),
        rustix::fs::minor(facts.st_rdev),
    );
    Ok((major.into(), minor.into()))
}

/// `c 1:3 rwm`, `a *:* m`.
pub(super) fn parse_rule(text: &str) -> Result<DeviceRule> {
    let invalid = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let parts: Vec<&str> = text.split(' ').collect();
    let [kind @ ("a" | "b" | "c"), numbers, access] = parts.as_slice() else {
        return Err(invalid());
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits => digits
            .parse::<u32>()
            .map(|n| Some(i64::from(n)))
            .map_err(|_| invalid()),
    };
    if access.is_empty() || access.len() > 3 || !access.bytes().all(|b| b"rwm".contains(&b)) {
        return Err(invalid());
    }
    Ok(DeviceRule {
        allow: true,
        kind: (*kind).into(),
        major: number(major)?,
        minor: number(minor)?,
        access: (*access).into(),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn rules() {
        let rule = super::parse_rule("c 10:* rw").expect("valid");
        assert_eq!(
            (rule.major, rule.minor, rule.access.as_str()),
            (Some(10), None, "rw")
        );
        for bad in [
            "",
            "c 1:3",
            "x 1:3 r",
            "c 1 r",
            "c 1:3 x",
            "c -1:3 r",
            "c 1:3 rwmr",
        ] {
            assert!(super::parse_rule(bad).is_err(), "{bad:?}");
        }
    }
}
