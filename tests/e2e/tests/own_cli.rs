//! Corten's own CLI beside docker's: the same words give the same output and the same codes.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use e2e::{Lab, Ran, root, wait_for};

/// Runs both; nothing of what they say may differ but the program's name.
#[track_caller]
fn same(lab: &Lab, args: &[&str]) -> Ran {
    let theirs = lab.docker(args);
    let ours = lab.corten(args);
    let plain = |text: &str| {
        text.replace("docker: ", "corten: ")
            .replace("'docker ", "'corten ")
            .replace("  docker ", "  corten ")
    };
    assert_eq!(
        ours.code, theirs.code,
        "{args:?}:\nours {ours:?}\ntheirs {theirs:?}"
    );
    assert_eq!(ours.out, theirs.out, "{args:?}");
    assert_eq!(plain(&ours.err), plain(&theirs.err), "{args:?}");
    theirs
}

#[test]
fn reading_is_the_same() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.docker(&[
        "run",
        "--name",
        "ended",
        "--label",
        "a=b",
        "-v",
        "vol:/vol",
        "bb",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 3",
    ]);
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "up",
        "-p",
        "127.0.0.1:18092:80",
        "bb",
        "sleep",
        "1000",
    ]);
    lab.ok(&["create", "--name", "made", "bb", "true"]);
    let stable = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.Ports}}\t{{.Names}}";
    for args in [
        &["ps", "-a", "--format", stable][..],
        &["ps", "-aq", "--no-trunc"],
        &["ps", "-q", "-f", "name=up"],
        &[
            "ps",
            "-n",
            "1",
            "--format",
            "{{.Names}} {{.State}} {{.Labels}} {{.Mounts}} {{.Networks}}",
        ],
        &["ps", "-a", "-f", "label=a", "--format", "{{json .Names}}"],
        &["ps", "-f", "bogus=1"],
        &["inspect", "ended"],
        &[
            "inspect",
            "-f",
            "{{.State.ExitCode}} {{json .Config.Labels}}",
            "ended",
            "up",
        ],
        &["inspect", "nosuch"],
        &["inspect", "--type", "image", "bb"],
        &["container", "inspect", "nosuch"],
        &["logs", "ended"],
        &["logs", "-n", "1", "-t", "ended"],
        &["logs", "nosuch"],
        &["port", "up"],
        &["port", "up", "81"],
        &["diff", "ended"],
        &["top", "up", "-o", "pid,args"],
        &["top", "ended"],
        &["wait", "ended"],
        &["images"],
        &["images", "-q", "--no-trunc"],
        &["history", "-q", "bb"],
        &["volume", "ls"],
        &["volume", "ls", "-q"],
        &["system", "df"],
        &["exec", "up", "sh", "-c", "echo o; echo e >&2; exit 9"],
        &["exec", "up", "nosuch"],
        &["exec", "-d", "up", "nosuch"],
        &[
            "exec",
            "-u",
            "user",
            "-w",
            "/tmp",
            "-e",
            "A=b",
            "up",
            "sh",
            "-c",
            "id -u; pwd; echo $A",
        ],
        &["exec", "ended", "true"],
        &["attach", "ended"],
        &["attach", "nosuch"],
        &["kill", "ended"],
        &["rm", "up"],
        &["rm", "nosuch"],
        &["start", "nosuch"],
        &["stop", "ended", "nosuch"],
        &["unpause", "up"],
        &["rename", "up", "made"],
        &["update", "-m", "1m", "up"],
        &["version", "--format", "{{.Server.Version}} {{.Server.Os}}"],
        &[
            "info",
            "--format",
            "{{.Containers}} {{.Driver}} {{.CgroupVersion}}",
        ],
        &["events", "--since", "0", "--until", "1"],
        &[
            "stats",
            "--no-stream",
            "--format",
            "{{.Name}} {{.PIDs}}",
            "up",
        ],
    ] {
        same(&lab, args);
    }
}

#[test]
fn running_is_the_same() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&["create", "--name", "taken", "bb", "true"]);
    for args in [
        &["run", "--rm", "bb", "echo", "hi"][..],
        &[
            "run",
            "--rm",
            "bb",
            "sh",
            "-c",
            "echo o; echo e >&2; exit 7",
        ],
        &["run", "--rm", "bb", "nosuch"],
        &["run", "--rm", "bb", "/etc"],
        &["run", "--rm", "bb"],
        &["run", "--rm", "--name", "taken", "bb", "true"],
        &["run", "--rm", "--name", "a", "bb", "true"],
        &["run", "--rm", "-t", "bb", "echo", "hi"],
        &[
            "run",
            "--rm",
            "-e",
            "A=b",
            "-u",
            "user",
            "-w",
            "/tmp",
            "bb",
            "sh",
            "-c",
            "echo $A; id -u; pwd",
        ],
        &["run", "--rm", "-v", "/x:rel", "bb", "true"],
        &[
            "run",
            "--rm",
            "-v",
            "/tmp:/t:ro",
            "--tmpfs",
            "/y:size=1m",
            "bb",
            "sh",
            "-c",
            "grep -c ' /t \\| /y ' /proc/mounts",
        ],
        &[
            "run",
            "--rm",
            "--mount",
            "type=tmpfs,dst=/t,tmpfs-size=1m",
            "bb",
            "grep",
            " /t ",
            "/proc/mounts",
        ],
        &["run", "--rm", "--mount", "type=bogus,dst=/t", "bb", "true"],
        &["run", "--rm", "-m", "1m", "bb", "true"],
        &["run", "--rm", "--restart", "always", "bb", "true"],
        &[
            "run",
            "--rm",
            "--cap-drop",
            "ALL",
            "bb",
            "grep",
            "CapEff",
            "/proc/self/status",
        ],
        &["run", "--rm", "--init", "bb", "sh", "-c", "exit 4"],
        &[
            "run",
            "--rm",
            "--ulimit",
            "nofile=77:88",
            "bb",
            "sh",
            "-c",
            "ulimit -n",
        ],
        &[
            "run",
            "--rm",
            "--entrypoint",
            "echo",
            "--hostname",
            "h",
            "bb",
            "x",
        ],
        &["run", "--rm", "--pull", "never", "nosuch", "true"],
        &["run", "--rm", "--env-file", "/nonexistent", "bb", "true"],
        &["run", "--rm", "--sysctl", "kernel.panic=1", "bb", "true"],
        &["run", "--rm", "--device", "/dev/nosuch", "bb", "true"],
        &["run", "--bogus", "bb"],
        &["run", "--rm", "-it", "bb", "true"],
        &["start", "-a", "taken"],
    ] {
        same(&lab, args);
    }
}

#[test]
fn streams_and_terminals() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let piped = |args: &[&str], input: &str| -> Ran {
        let mut child = lab
            .corten_command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("corten");
        child
            .stdin
            .take()
            .expect("stdin")
            .write_all(input.as_bytes())
            .expect("input");
        child.wait_with_output().expect("corten").into()
    };
    let ran = piped(
        &["run", "--rm", "-i", "bb", "sh", "-c", "wc -c; exit 5"],
        &"x".repeat(500_000),
    );
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (5, "500000\n", "")
    );
    lab.ok(&["run", "-d", "--name", "host", "bb", "sleep", "1000"]);
    let ran = piped(&["exec", "-i", "host", "cat"], "to and fro");
    assert_eq!((ran.code, ran.out.as_str()), (0, "to and fro"));

    let mut first = lab.corten_terminal(&["run", "-it", "--name", "tty", "bb", "sh"]);
    first.see("# ");
    first.type_in(b"stty size; echo o''ne\r");
    first.see("24 80\r\none");
    first.resize(40, 100);
    first.type_in(b"until [ \"$(stty size)\" = '40 100' ]; do :; done; echo re''sized\r");
    first.see("resized");
    first.type_in(b"\x10\x11");
    assert_eq!(first.end(), 0);
    let mut second = lab.corten_terminal(&["attach", "tty"]);
    second.type_in(b"\recho tw''o\r");
    second.see("two");
    second.type_in(b"exit 6\r");
    assert_eq!(second.end(), 6);
    let mut exec = lab.corten_terminal(&["exec", "-it", "host", "sh"]);
    exec.see("# ");
    exec.type_in(b"tty; exit 3\r");
    exec.see("/dev/pts/");
    assert_eq!(exec.end(), 3);
}

#[test]
fn changing_works() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let ok = |args: &[&str]| {
        let ran = lab.corten(args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}: {ran:?}");
        ran.out.trim_end().to_owned()
    };
    let id = ok(&[
        "run", "-d", "--name", "one", "--label", "k=v", "bb", "sleep", "1000",
    ]);
    assert_eq!(ok(&["inspect", "-f", "{{.Id}}", "one"]), id);
    for words in [["pause", "one"], ["unpause", "one"]] {
        assert_eq!(ok(&words), "one");
    }
    assert_eq!(ok(&["restart", "-t", "0", "one"]), "one");
    assert_eq!(ok(&["update", "--pids-limit", "77", "one"]), "one");
    assert_eq!(ok(&["rename", "one", "two"]), "");
    assert_eq!(ok(&["stop", "-t", "0", "two"]), "two");
    assert_eq!(ok(&["start", "two"]), "two");
    ok(&["exec", "two", "sh", "-c", "echo written > /tmp/there"]);
    assert_eq!(ok(&["kill", "two"]), "two");
    assert!(wait_for(Duration::from_secs(10), || ok(&[
        "inspect",
        "-f",
        "{{.State.Status}}",
        "two"
    ]) == "exited"));
    let tar = lab.path("tar").display().to_string();
    ok(&["export", "-o", &tar, "two"]);
    assert!(ok(&["import", &tar, "three:x"]).starts_with("sha256:"));
    assert_eq!(
        ok(&["run", "--rm", "three:x", "cat", "/tmp/there"]),
        "written"
    );
    assert_eq!(ok(&["rm", "two"]), "two");
    // What it cannot do yet it says by name.
    for words in [&["build", "."][..], &["network", "create", "net"]] {
        let ran = lab.corten(words);
        assert!(
            ran.code == 1 && ran.err.contains("is not supported yet"),
            "{ran:?}"
        );
    }
    ok(&["create", "--name", "last", "bb", "true"]);
    assert!(ok(&["container", "prune", "-f"]).starts_with("Deleted Containers:\n"));
    assert_eq!(ok(&["ps", "-aq"]), "");
}
