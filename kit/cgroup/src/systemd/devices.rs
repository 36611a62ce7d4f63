//! Device rules as properties: systemd knows lists of what is allowed, and nothing else.

use std::collections::BTreeMap;

use dbus::Value;

use super::Property;
use super::property::one;
use crate::{DeviceKind, DeviceRule};

/// Block device, major, minor.
type Key = (bool, Option<u32>, Option<u32>);
/// Reading, writing, making nodes.
type Access = [bool; 3];

/// What the rules come to. Where a list cannot say it, nothing is allowed until the rules
/// themselves are written, which comes right after.
pub(super) fn properties(rules: &[DeviceRule], version: u32) -> Vec<Property> {
    if rules.is_empty() {
        return Vec::new();
    }
    let (allowed, policy) = match settle(rules) {
        Some(Settled::All) => (Vec::new(), "auto"),
        Some(Settled::These(list)) => (entries(&list, version), "strict"),
        None => (Vec::new(), "strict"),
    };
    let list = |entries| one("DeviceAllow", Value::Array("(ss)".into(), entries));
    let mut out = vec![
        // An empty list clears those of before, any other one is added to them.
        list(Vec::new()),
        one("DevicePolicy", policy),
    ];
    if !allowed.is_empty() {
        out.push(list(allowed));
    }
    out
}

enum Settled {
    All,
    These(BTreeMap<Key, Access>),
}

/// Follows the rules in their order; `None` where exceptions are left.
fn settle(rules: &[DeviceRule]) -> Option<Settled> {
    let mut all = false;
    let mut list: BTreeMap<Key, Access> = BTreeMap::new();
    // Denied although all is allowed.
    let mut exceptions = false;
    for rule in rules {
        let access = [rule.read, rule.write, rule.mknod];
        let whole = rule.major.is_none() && rule.minor.is_none();
        if whole && rule.kind == DeviceKind::All && access == [true; 3] {
            (all, exceptions) = (rule.allow, false);
            list.clear();
            continue;
        }
        if all {
            exceptions |= !rule.allow;
            continue;
        }
        let kinds: &[bool] = match rule.kind {
            DeviceKind::All => &[false, true],
            DeviceKind::Char => &[false],
            DeviceKind::Block => &[true],
        };
        for block in kinds {
            let key = (*block, rule.major, rule.minor);
            if rule.allow {
                let slot = list.entry(key).or_default();
                slot.iter_mut().zip(access).for_each(|(s, a)| *s |= a);
            } else if !deny(&mut list, key, access) {
                return None;
            }
        }
    }
    match (all, exceptions) {
        (true, true) => None,
        (true, false) => Some(Settled::All),
        (false, _) => Some(Settled::These(list)),
    }
}

/// Takes an access away from everything the key covers; false when part of a wider entry would
/// have to go.
fn deny(list: &mut BTreeMap<Key, Access>, key: Key, access: Access) -> bool {
    let within = |outer: Option<u32>, inner: Option<u32>| outer.is_none() || outer == inner;
    let covers = |a: &Key, b: &Key| a.0 == b.0 && within(a.1, b.1) && within(a.2, b.2);
    let overlaps = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    for (entry, has) in list.iter_mut() {
        if covers(&key, entry) {
            has.iter_mut().zip(access).for_each(|(h, a)| *h &= !a);
        } else if entry.0 == key.0
            && overlaps(entry.1, key.1)
            && overlaps(entry.2, key.2)
            && has.iter().zip(access).any(|(h, a)| *h && a)
        {
            return false;
        }
    }
    true
}

fn entries(list: &BTreeMap<Key, Access>, version: u32) -> Vec<Value> {
    let mut out = Vec::new();
    for (&(block, major, minor), access) in list {
        let letters = ['r', 'w', 'm'].into_iter().zip(access);
        let letters: String = letters.filter(|(_, on)| **on).map(|(c, _)| c).collect();
        let kind = if block { "block" } else { "char" };
        let path = match (major, minor) {
            (None, None) => format!("{kind}-*"),
            // By number since 240, by the driver's name before: those rules are written later.
            (Some(major), None) if version >= 240 => format!("{kind}-{major}"),
            (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
            _ => continue,
        };
        if !letters.is_empty() {
            out.push(Value::Struct(vec![Value::Text(path), Value::Text(letters)]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> DeviceRule {
        let words: Vec<&str> = text.split(' ').collect();
        let number = |n: usize| words[2].split(':').nth(n).unwrap().parse().ok();
        DeviceRule {
            allow: words[0] == "+",
            kind: match words[1] {
                "c" => DeviceKind::Char,
                "b" => DeviceKind::Block,
                _ => DeviceKind::All,
            },
            major: number(0),
            minor: number(1),
            read: words[3].contains('r'),
            write: words[3].contains('w'),
            mknod: words[3].contains('m'),
        }
    }

    fn shown(rules: &[&str]) -> String {
        let rules: Vec<DeviceRule> = rules.iter().map(|r| rule(r)).collect();
        let mut out = String::new();
        for (name, value) in properties(&rules, 252) {
            match value {
                Value::Array(_, list) if list.is_empty() => out.push_str("clear "),
                Value::Array(_, list) => {
                    for entry in list {
                        let Value::Struct(fields) = entry else {
                            panic!("{entry:?}")
                        };
                        let text = |n: usize| fields[n].as_text().unwrap();
                        out.push_str(&format!("{}={} ", text(0), text(1)));
                    }
                }
                value => out.push_str(&format!("{name}:{} ", value.as_text().unwrap())),
            }
        }
        out.trim_end().to_owned()
    }

    #[test]
    fn lists() {
        let none = "- a *:* rwm";
        let cases: [(&[&str], &str); 8] = [
            (&[], ""),
            (&[none], "clear DevicePolicy:strict"),
            (&["+ a *:* rwm"], "clear DevicePolicy:auto"),
            (
                &[none, "+ c *:* m", "+ c 1:3 rw", "+ c 1:3 m", "+ b 8:* r"],
                "clear DevicePolicy:strict char-*=m /dev/char/1:3=rwm block-8=r",
            ),
            (
                &[none, "+ a 5:1 rw"],
                "clear DevicePolicy:strict /dev/char/5:1=rw /dev/block/5:1=rw",
            ),
            (
                &[none, "+ c 1:3 rwm", "- c 1:* w"],
                "clear DevicePolicy:strict /dev/char/1:3=rm",
            ),
            // A hole in what is allowed.
            (
                &[none, "+ c 1:* rwm", "- c 1:3 w"],
                "clear DevicePolicy:strict",
            ),
            (&["+ a *:* rwm", "- c 1:3 w"], "clear DevicePolicy:strict"),
        ];
        for (rules, wanted) in cases {
            assert_eq!(shown(rules), wanted, "{rules:?}");
        }
    }
}
