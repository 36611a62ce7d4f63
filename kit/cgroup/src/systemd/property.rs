//! Properties of units: those every one gets, and those that are asked for as text.

use dbus::Value;

use super::{Property, Unit};
use crate::{Error, Result};

pub(super) fn one(name: &str, value: impl Into<Value>) -> Property {
    (name.to_owned(), value.into())
}

/// As the calls take them: `a(sv)`.
pub(super) fn list(properties: Vec<Property>) -> Value {
    let entry =
        |(name, value)| Value::Struct(vec![Value::Text(name), Value::Variant(Box::new(value))]);
    Value::Array("(sv)".into(), properties.into_iter().map(entry).collect())
}

/// Those of a new unit. All meters run from the beginning: the kernel counts only what is charged
/// after a controller was enabled.
pub(super) fn of_unit(unit: &Unit, pids: &[u32], more: Vec<Property>, v2: bool) -> Vec<Property> {
    let mut out = Vec::new();
    if unit.is_slice() {
        out.push(one("Wants", Value::texts([unit.slice()])));
    } else {
        out.push(one("Slice", unit.slice()));
        out.push(one("Delegate", true));
        let pids = pids.iter().map(|pid| Value::U32(*pid)).collect();
        out.push(one("PIDs", Value::Array("u".into(), pids)));
    }
    let io = if v2 {
        "IOAccounting"
    } else {
        "BlockIOAccounting"
    };
    for name in ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"] {
        out.push(one(name, true));
    }
    out.push(one("DefaultDependencies", false));
    out.extend(more);
    out
}

/// A property from an annotation's text; documented in seconds, it is sent in microseconds under
/// the name that systemd has for that.
pub fn from_annotation(name: &str, text: &str) -> std::result::Result<Property, String> {
    if name.len() < 3 {
        return Err("name incorrect: too short".into());
    }
    if !name.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Err("name incorrect: contains non-alphabetic character".into());
    }
    let value = dbus::from_text(text).map_err(|e| format!("value parse error: {e}"))?;
    match name.strip_suffix("Sec") {
        Some(stem) if stem.ends_with(|c: char| c.is_ascii_lowercase()) => {
            let microseconds = microseconds(&value).ok_or("value parse error: not a number")?;
            Ok((format!("{stem}USec"), Value::U64(microseconds)))
        }
        _ => Ok((name.to_owned(), value)),
    }
}

fn microseconds(seconds: &Value) -> Option<u64> {
    const MILLION: u64 = 1_000_000;
    let whole = match *seconds {
        Value::Byte(n) => i128::from(n),
        Value::I16(n) => i128::from(n),
        Value::U16(n) => i128::from(n),
        Value::I32(n) => i128::from(n),
        Value::U32(n) => i128::from(n),
        Value::I64(n) => i128::from(n),
        // "infinity" is the largest number in both units.
        Value::U64(u64::MAX) => return Some(u64::MAX),
        Value::U64(n) => i128::from(n),
        Value::Double(n) => return Some((n * MILLION as f64) as u64),
        _ => return None,
    };
    u64::try_from(whole).ok()?.checked_mul(MILLION)
}

/// The error of a value that has no such form.
pub(super) fn invalid(key: &str, value: &str) -> Error {
    Error::new(format!("unified resource {key:?} value invalid: {value:?}"))
}

/// `1,3-5` as bits, lowest processor first.
pub(super) fn bits(what: &str, list: &str) -> Result<Value> {
    let bad = |why: &str| Error::new(format!("{what}={list:?} conversion error: {why}"));
    let mut bytes: Vec<u8> = Vec::new();
    for range in list.split(',').map(str::trim).filter(|r| !r.is_empty()) {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (Ok(from), Ok(to)) = (from.parse::<u16>(), to.parse::<u16>()) else {
            return Err(bad(&format!("invalid range: {range}")));
        };
        if from > to {
            return Err(bad(&format!("invalid range: {range}")));
        }
        for bit in from..=to {
            let at = usize::from(bit / 8);
            if bytes.len() <= at {
                bytes.resize(at + 1, 0);
            }
            if let Some(byte) = bytes.get_mut(at) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
    match bytes.is_empty() {
        true => Err(bad("empty value")),
        false => Ok(Value::Bytes(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations() {
        let get = |name, text| from_annotation(name, text);
        assert_eq!(
            get("TimeoutStopSec", "uint64 2").unwrap(),
            one("TimeoutStopUSec", 2_000_000u64)
        );
        assert_eq!(
            get("RuntimeMaxSec", "1.5").unwrap(),
            one("RuntimeMaxUSec", 1_500_000u64)
        );
        assert_eq!(
            get("CollectMode", "'inactive'").unwrap(),
            one("CollectMode", "inactive")
        );
        assert_eq!(
            get("FOOSec", "5").unwrap(),
            ("FOOSec".into(), Value::I32(5))
        );
        for (name, text) in [
            ("ab", "1"),
            ("a_b", "1"),
            ("TimeoutStopSec", "'x'"),
            ("TimeoutStopSec", "-1"),
            ("Abc", "<"),
        ] {
            assert!(get(name, text).is_err(), "{name}={text}");
        }
    }

    #[test]
    fn processors() {
        assert_eq!(bits("x", "0-1,9").unwrap(), Value::Bytes(vec![3, 2]));
        assert_eq!(bits("x", " 7 ,").unwrap(), Value::Bytes(vec![128]));
        for bad in ["", ",", "3-1", "a", "1-", "70000"] {
            assert!(bits("x", bad).is_err(), "{bad}");
        }
    }
}
