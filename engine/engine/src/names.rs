//! IDs and the names given to containers that bring none.

use crate::{Error, Result};

const LEFT: [&str; 40] = [
    "amber",
    "bold",
    "brisk",
    "bronze",
    "calm",
    "clever",
    "coastal",
    "copper",
    "crisp",
    "deep",
    "eager",
    "early",
    "fair",
    "firm",
    "frank",
    "gentle",
    "glad",
    "golden",
    "grand",
    "honest",
    "keen",
    "kind",
    "lively",
    "lucid",
    "mellow",
    "merry",
    "mild",
    "noble",
    "patient",
    "plain",
    "proud",
    "quick",
    "quiet",
    "rusty",
    "sound",
    "steady",
    "sunny",
    "tidy",
    "warm",
    "weathered",
];
const RIGHT: [&str; 40] = [
    "anvil", "arch", "barge", "beam", "bolt", "bridge", "buoy", "cabin", "crane", "derrick",
    "dock", "ferry", "forge", "gantry", "girder", "harbor", "hatch", "hull", "jetty", "keel",
    "ladder", "lantern", "lock", "mast", "mill", "mooring", "pier", "plank", "pylon", "quay",
    "rail", "rivet", "rudder", "sail", "span", "tower", "truss", "tug", "wharf", "winch",
];

/// 64 random hex digits. Like Docker's, the first twelve are never all decimal, so that a short ID
/// is not taken for a number.
pub(crate) fn random_id() -> Result<String> {
    loop {
        let mut bytes = [0u8; 32];
        fill(&mut bytes)?;
        let id = oci::Digest::sha256(&bytes).hex().to_owned();
        if id[..12].bytes().any(|b| !b.is_ascii_digit()) {
            return Ok(id);
        }
    }
}

/// `adjective_noun`, with a digit from the sixth try on.
pub(crate) fn random_name(attempt: u32) -> Result<String> {
    let mut bytes = [0u8; 3];
    fill(&mut bytes)?;
    let [left, right, digit] = bytes.map(usize::from);
    let name = format!("{}_{}", LEFT[left % LEFT.len()], RIGHT[right % RIGHT.len()]);
    Ok(if attempt < 5 {
        name
    } else {
        format!("{name}{digit}{}", attempt % 10)
    })
}

/// `/?[a-zA-Z0-9][a-zA-Z0-9_.-]+`, the slash taken off.
pub(crate) fn validate(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let bytes = bare.as_bytes();
    let fine = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if bytes.len() >= 2 && bytes[0].is_ascii_alphanumeric() && bytes.iter().all(fine) {
        return Ok(bare);
    }
    Err(Error::invalid(format!(
        "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(rest, flags)
            .map_err(|error| Error::system(format!("getrandom: {error}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_and_ids() {
        assert_eq!(super::random_id().expect("id").len(), 64);
        for attempt in 0..10 {
            let name = super::random_name(attempt).expect("name");
            assert_eq!(super::validate(&name).expect("valid"), name);
        }
        for bad in ["", "a", "-ab", "a b", "ä1", "/"] {
            assert!(super::validate(bad).is_err(), "{bad:?}");
        }
        assert_eq!(super::validate("/ok").expect("slash"), "ok");
    }
}
