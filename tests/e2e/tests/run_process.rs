//! `docker run`: what the process gets: environment, user, directory, command, names, init.

use std::time::Duration;

use e2e::{Lab, root, wait_for};

#[test]
fn environment() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let env = lab.ok(&["run", "--rm", "--hostname", "here", "bb", "env"]);
    let mut lines: Vec<&str> = env.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "HOME=/root",
            "HOSTNAME=here",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        ]
    );
    let file = lab.path("env");
    std::fs::write(&file, "# comment\nONE=from file\nTWO=2\n\nINHERITED\n").expect("env file");
    let file = file.display().to_string();
    let mut command = lab.docker_command(&[
        "run",
        "--rm",
        "--env-file",
        &file,
        "-e",
        "TWO=two=2",
        "-e",
        "PASSED",
        "-e",
        "UNSET",
        "-e",
        "HOME=/x",
        "bb",
        "env",
    ]);
    command.env("PASSED", "on").env("INHERITED", "yes");
    let output = command.output().expect("docker");
    let env = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in [
        "ONE=from file",
        "TWO=two=2",
        "PASSED=on",
        "INHERITED=yes",
        "HOME=/x",
    ] {
        assert!(env.lines().any(|found| found == line), "{line} in {env}");
    }
    assert!(!env.contains("UNSET"), "{env}");
    assert_eq!(
        env.lines().filter(|line| line.starts_with("TWO=")).count(),
        1
    );
    let err = lab.fails(
        125,
        &["run", "--rm", "--env-file", "/nonexistent", "bb", "true"],
    );
    assert_eq!(
        err,
        "docker: open /nonexistent: no such file or directory\n\nRun 'docker run --help' for more information\n"
    );
}

#[test]
fn users_and_groups() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let id = "id -u; id -g; id -G; echo $HOME";
    for (args, expected) in [
        (&[][..], "0\n0\n0\n/root"),
        (&["-u", "user"], "1000\n1000\n1000 1234\n/home/user"),
        (&["-u", "1000"], "1000\n1000\n1000 1234\n/home/user"),
        (&["-u", "user:wheel"], "1000\n77\n77\n/home/user"),
        (&["-u", "4000:5000"], "4000\n5000\n5000\n/"),
        (&["-u", "4000"], "4000\n0\n0\n/"),
        (
            &["-u", "user", "--group-add", "wheel", "--group-add", "99"],
            "1000\n1000\n1000 77 99 1234\n/home/user",
        ),
        (&["--group-add", "extra"], "0\n0\n0 1234\n/root"),
    ] {
        let ran = lab.ok(&[&["run", "--rm"], args, &["bb", "sh", "-c", id]].concat());
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let mut groups: Vec<u32> = lines[2]
                .split(' ')
                .map(|n| n.parse().expect("gid"))
                .collect();
            groups.sort_unstable();
            lines[2] = format!("{groups:?}");
            lines
        };
        assert_eq!(sorted(&ran), sorted(expected), "{args:?}");
    }
    let err = lab.fails(125, &["run", "--rm", "-u", "nobody-here", "bb", "true"]);
    assert!(
        err.contains("unable to find user nobody-here: no matching entries in passwd file"),
        "{err}"
    );
    let err = lab.fails(
        125,
        &["run", "--rm", "-u", "user:nogroup-here", "bb", "true"],
    );
    assert!(
        err.contains("unable to find group nogroup-here: no matching entries in group file"),
        "{err}"
    );
}

#[test]
fn directory_command_and_names() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    assert_eq!(lab.ok(&["run", "--rm", "bb", "pwd"]), "/");
    assert_eq!(
        lab.ok(&["run", "--rm", "-w", "/data", "bb", "cat", "seed"]),
        "from the image"
    );
    // A directory that is missing is made, as root.
    assert_eq!(
        lab.ok(&[
            "run",
            "--rm",
            "-w",
            "/made/new",
            "-u",
            "user",
            "bb",
            "sh",
            "-c",
            "pwd; stat -c %u:%a ."
        ]),
        "/made/new\n0:755"
    );
    assert_eq!(
        lab.ok(&["run", "--rm", "--entrypoint", "echo", "bb", "a", "b c"]),
        "a b c"
    );
    assert_eq!(
        lab.ok(&["run", "--rm", "--entrypoint", "", "bb", "echo", "x"]),
        "x"
    );
    let err = lab.fails(125, &["run", "--rm", "bb"]);
    assert!(err.contains("no command specified"), "{err}");
    let names = lab.ok(&[
        "run",
        "--rm",
        "--hostname",
        "h1",
        "--domainname",
        "example.org",
        "--add-host",
        "other:192.0.2.7",
        "--add-host",
        "gw:host-gateway",
        "bb",
        "sh",
        "-c",
        "hostname; cat /etc/hostname; cat /proc/sys/kernel/domainname; cat /etc/hosts",
    ]);
    let lines: Vec<&str> = names.lines().collect();
    assert_eq!(&lines[..3], ["h1", "h1.example.org", "example.org"]);
    assert!(lines.contains(&"192.0.2.7\tother"), "{names}");
    assert!(
        lines
            .iter()
            .any(|line| line.ends_with("\th1.example.org h1")),
        "{names}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.ends_with("\tgw") && !line.contains("host-gateway")),
        "{names}"
    );
    // By default the short ID is the name.
    let id = lab.ok(&[
        "create", "--label", "a=1", "--label", "b", "-l", "c=x=y", "bb", "hostname",
    ]);
    assert_eq!(lab.ok(&["start", "-a", &id]), id[..12]);
    assert_eq!(
        lab.inspect(&id, "{{json .Config.Labels}}"),
        r#"{"a":"1","b":"","c":"x=y"}"#
    );
}

#[test]
fn init_is_pid_1_and_reaps() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&[
        "run",
        "-d",
        "--init",
        "--name",
        "init",
        "bb",
        "sh",
        "-c",
        "(sh -c 'true & exec true') ; exec sleep 1000",
    ]);
    let first = lab.ok(&["exec", "init", "cat", "/proc/1/comm"]);
    assert!(first.contains("init"), "{first}");
    // An orphan that ends is gone, not a zombie.
    lab.ok(&["exec", "init", "sh", "-c", "(true &) ; exit 0"]);
    let clean = wait_for(Duration::from_secs(10), || {
        !lab.ok(&["exec", "init", "sh", "-c", "cat /proc/[0-9]*/stat"])
            .contains(") Z ")
    });
    assert!(clean, "{}", lab.ok(&["top", "init"]));
    // The stop signal reaches the program behind it.
    lab.ok(&["stop", "-t", "60", "init"]);
    assert_eq!(lab.inspect("init", "{{.State.ExitCode}}"), "143");
    assert_eq!(
        lab.docker(&["run", "--rm", "--init", "bb", "sh", "-c", "exit 9"])
            .code,
        9
    );
    assert_eq!(
        lab.docker(&["run", "--rm", "--init", "bb", "nosuch"]).code,
        127
    );
}

#[test]
fn stop_signal_is_what_stop_sends() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let script = "trap 'exit 21' USR1; trap 'exit 22' TERM; echo up; while :; do sleep 0.02; done";
    for (args, stop, code) in [
        (&["--stop-signal", "SIGUSR1"][..], &[][..], "21"),
        (&["--stop-signal", "10"], &[], "21"),
        (&[], &["-s", "USR1"], "21"),
        (&[], &[], "22"),
        (&["--stop-timeout", "0"], &["-s", "CONT"], "137"),
    ] {
        lab.ok(&[
            &["run", "-d", "--name", "sig"],
            args,
            &["bb", "sh", "-c", script],
        ]
        .concat());
        assert!(wait_for(Duration::from_secs(10), || lab
            .ok(&["logs", "sig"])
            == "up"));
        assert_eq!(lab.ok(&[&["stop"], stop, &["sig"]].concat()), "sig");
        assert_eq!(
            lab.inspect("sig", "{{.State.ExitCode}}"),
            code,
            "{args:?} {stop:?}"
        );
        lab.ok(&["rm", "sig"]);
    }
}
