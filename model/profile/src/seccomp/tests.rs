#![expect(clippy::print_stdout, reason = "says that a test was skipped")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::*;

/// Action, errno and conditions of every rule for a name: equal sets give equal verdicts.
type Verdicts = BTreeMap<String, BTreeSet<String>>;

fn verdicts(profile: &Seccomp) -> Verdicts {
    let mut out = Verdicts::new();
    for rule in &profile.syscalls {
        let text = format!("{} {:?} {:?}", rule.action, rule.errno_ret, rule.args);
        for name in &rule.names {
            out.entry(name.clone()).or_default().insert(text.clone());
        }
    }
    // A rule without conditions makes those with conditions moot.
    for set in out.values_mut() {
        let always = "SCMP_ACT_ALLOW None []".to_owned();
        if set.contains(&always) {
            *set = [always].into();
        }
    }
    out
}

fn reference() -> Option<String> {
    let dir = std::env::var_os("CORTEN_SPEC_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/spec"),
        PathBuf::from,
    );
    let file = dir.join("seccomp/moby-default.json");
    match std::fs::read_to_string(&file) {
        Ok(text) => Some(text),
        Err(error) => {
            println!("skipped: {}: {error} (set CORTEN_SPEC_DIR)", file.display());
            None
        }
    }
}

#[test]
fn same_verdicts_as_mobys() {
    let Some(text) = reference() else { return };
    let mut sets: Vec<Vec<&str>> = vec![vec![], crate::CAPABILITIES.to_vec()];
    sets.extend(BY_CAPABILITY.iter().map(|(name, _)| vec![*name]));
    sets.push(BY_CAPABILITY.iter().map(|(name, _)| *name).collect());
    for architecture in ["amd64", "arm64", "s390x"] {
        for kernel in [(4, 4), (4, 8), (6, 18)] {
            for set in &sets {
                let caps: Vec<String> = set.iter().map(|c| (*c).to_owned()).collect();
                let host = Host {
                    architecture,
                    kernel,
                };
                let ours = default_seccomp(host, &caps);
                let theirs = crate::parse_seccomp(&text, host, &caps).unwrap();
                assert_eq!(verdicts(&ours), verdicts(&theirs), "{host:?} {set:?}");
                assert_eq!(ours.default_action, theirs.default_action);
                assert_eq!(ours.default_errno_ret, theirs.default_errno_ret);
                if architecture != "s390x" {
                    assert_eq!(ours.architectures, theirs.architectures);
                }
            }
        }
    }
}

#[test]
fn dangerous_ones_need_a_capability() {
    let host = Host {
        architecture: "amd64",
        kernel: (6, 1),
    };
    let caps: Vec<String> = crate::CAPABILITIES
        .iter()
        .map(|c| (*c).to_owned())
        .collect();
    let usual = verdicts(&default_seccomp(host, &caps));
    for name in [
        "mount",
        "bpf",
        "init_module",
        "kexec_load",
        "unshare",
        "setns",
        "reboot",
        "keyctl",
    ] {
        assert!(!usual.contains_key(name), "{name}");
    }
    assert!(usual["clone3"].iter().all(|r| r.contains("ERRNO")));
    assert!(usual.contains_key("chroot"));
    let admin = verdicts(&default_seccomp(host, &["CAP_SYS_ADMIN".into()]));
    assert!(admin.contains_key("mount") && admin["clone"].contains("SCMP_ACT_ALLOW None []"));
}
