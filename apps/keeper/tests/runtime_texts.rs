//! Help, version, spec, features, logs and wrong command lines.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]
#![allow(unreachable_pub, dead_code, reason = "shared with other tests")]

mod runtime;

use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use runtime::{KEEPER, Lab, text};
use serde_json::Value;

fn call(args: &[&str]) -> Output {
    Command::new(KEEPER)
        .arg("runtime")
        .args(args)
        .output()
        .unwrap()
}

const COMMANDS: [&str; 17] = [
    "checkpoint",
    "create",
    "delete",
    "events",
    "exec",
    "features",
    "kill",
    "list",
    "pause",
    "ps",
    "restore",
    "resume",
    "run",
    "spec",
    "start",
    "state",
    "update",
];

#[test]
fn help_of_everything() {
    for flag in ["-h", "--help"] {
        let output = call(&[flag]);
        assert!(output.status.success());
        let out = text(&output);
        assert!(out.starts_with("NAME:\n   corten-runtime - Open Container Initiative runtime"));
        for name in COMMANDS {
            assert!(out.contains(&format!("\n   {name} ")), "{name}");
            let output = call(&[name, flag]);
            assert!(output.status.success());
            let head = format!("NAME:\n   corten-runtime {name} - ");
            assert!(text(&output).starts_with(&head), "{name}");
        }
    }
    let output = call(&["foo", "-h"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("No help topic for 'foo'"));
}

#[test]
fn version_lines() {
    for flag in ["-v", "--version"] {
        let out = text(&call(&[flag]));
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[0].starts_with("corten-runtime version "), "{out}");
        assert!(lines[1].starts_with("commit: "), "{out}");
        assert_eq!(lines[2], "spec: 1.3.0");
    }
}

#[test]
fn role_by_name() {
    for name in ["runc", "/usr/bin/corten-runtime"] {
        let output = Command::new(KEEPER)
            .arg0(name)
            .arg("--version")
            .output()
            .unwrap();
        let expected = name.rsplit('/').next().unwrap();
        assert!(text(&output).starts_with(&format!("{expected} version")));
    }
}

#[test]
fn restore_without_criu() {
    let output = Command::new(KEEPER)
        .args(["runtime", "restore", "x"])
        .env("PATH", "/does/not/exist")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("CRIU version check failed: exec:"), "{err}");
    assert!(err.contains("executable file not found in $PATH"), "{err}");
}

#[test]
fn wrong_command_lines() {
    let fails = |args: &[&str], words: &str| {
        let output = call(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(err.contains(words), "{args:?}: {err}");
    };
    fails(&["--nope", "list"], "flag provided but not defined: -nope");
    fails(
        &["create", "--nope", "x"],
        "flag provided but not defined: -nope",
    );
    fails(&["create"], "requires exactly 1 argument(s)");
    fails(
        &["kill", "a", "b", "c"],
        "requires a maximum of 2 argument(s)",
    );
    fails(&["state", "a", "b"], "requires exactly 1 argument(s)");
    fails(&["exec"], "requires a minimum of 1 argument(s)");
    fails(&["frobnicate"], "unknown command");
    fails(
        &["--cgroup-manager", "nope", "list"],
        "unknown cgroup manager",
    );
    fails(&["--log-format", "xml", "list"], "invalid log-format: xml");
    fails(&["--root", "/..", "list"], "should not be set to /");
    fails(&["checkpoint", "x"], "container does not exist");
    fails(&["kill", "x", "NOPE"], "unknown signal");
    fails(&["state", "no-such-container"], "container does not exist");
}

#[test]
fn log_formats() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let path = log.to_str().unwrap();
    let output = call(&["--log", path, "--log-format", "json", "state", "no\"such"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "invalid container ID format\n"
    );
    let line: Value = serde_json::from_str(&std::fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert_eq!(line["msg"], "invalid container ID format");
    let time = line["time"].as_str().unwrap();
    assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
    let output = call(&["--debug", "state", "nobody"]);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(err.contains("level=debug"), "{err}");
    assert!(
        err.contains("level=error msg=\"container does not exist\"\n"),
        "{err}"
    );
}

#[test]
fn spec_is_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().to_str().unwrap();
    assert!(call(&["spec", "-b", bundle]).status.success());
    let read = || -> Value {
        serde_json::from_slice(&std::fs::read(dir.path().join("config.json")).unwrap()).unwrap()
    };
    let config = read();
    assert_eq!(config["process"]["args"][0], "sh");
    assert_eq!(config["ociVersion"], "1.3.0");
    assert!(!call(&["spec", "-b", bundle]).status.success());
    std::fs::remove_file(dir.path().join("config.json")).unwrap();
    assert!(call(&["spec", "--rootless", "-b", bundle]).status.success());
    let config = read();
    let namespaces = config["linux"]["namespaces"].as_array().unwrap();
    assert!(namespaces.iter().any(|n| n["type"] == "user"));
    assert!(!namespaces.iter().any(|n| n["type"] == "network"));
    assert_eq!(config["linux"]["uidMappings"][0]["size"], 1);
}

#[test]
fn features_are_a_document() {
    let features: Value = serde_json::from_str(&text(&call(&["features"]))).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert_eq!(features["ociVersionMax"], "1.3.0");
    assert!(features["hooks"].as_array().unwrap().len() == 6);
    assert_eq!(features["linux"]["cgroup"]["v1"], true);
    let capabilities = features["linux"]["capabilities"].as_array().unwrap();
    let known = |c: &Value| c.as_str().unwrap().starts_with("CAP_");
    assert!(!capabilities.is_empty() && capabilities.iter().all(known));
}

/// The program of a process that enters a container is not to be written from there, not even
/// once nobody runs it any more (while somebody does, the kernel refuses with ETXTBSY).
#[test]
fn the_program_is_out_of_reach() {
    use std::os::fd::AsRawFd;
    let Some(lab) = Lab::new("self") else { return };
    // A copy of this test's own: the others run the same file.
    let program = lab.dir.path().join("runc");
    runtime::copy_program(&program);
    let root = lab.root();
    let run = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--root").arg(&root).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        assert!(
            command
                .current_dir(lab.bundle())
                .status()
                .unwrap()
                .success()
        );
    };
    run(&["create", "c"]);
    let pid = lab.state("c")["pid"].as_i64().unwrap();
    let flags = rustix::fs::OFlags::PATH;
    let exe = format!("/proc/{pid}/exe");
    let held = rustix::fs::open(&exe, flags, rustix::fs::Mode::empty()).unwrap();
    run(&["delete", "-f", "c"]);
    let again = format!("/proc/self/fd/{}", held.as_raw_fd());
    let error = std::fs::OpenOptions::new()
        .write(true)
        .open(&again)
        .unwrap_err();
    assert_eq!(
        error.kind(),
        std::io::ErrorKind::ReadOnlyFilesystem,
        "{error}"
    );
    // By its own name the host can replace it at any time.
    std::fs::OpenOptions::new()
        .write(true)
        .open(&program)
        .unwrap();
}
