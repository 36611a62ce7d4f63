//! What containers have of each other: volumes, links, namespaces; and the order that follows.

use e2e::{Lab, Options, root};

#[test]
fn volumes_of_others() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let host = lab.directory("shared");
    let bind = format!("{}:/bind", host.display());
    lab.ok(&[
        "create",
        "--name",
        "one",
        "-v",
        "/data",
        "-v",
        "vol:/vol",
        "-v",
        &bind,
        "--mount",
        "type=tmpfs,dst=/t",
        "bb",
        "true",
    ]);
    lab.ok(&[
        "run",
        "--rm",
        "--volumes-from",
        "one",
        "bb",
        "sh",
        "-c",
        "echo a > /data/f; echo b > /vol/f; echo c > /bind/f",
    ]);
    assert_eq!(
        std::fs::read_to_string(host.join("f")).expect("file"),
        "c\n"
    );
    // What the image has was copied when the volume was made, and only then.
    assert_eq!(
        lab.ok(&[
            "run",
            "--rm",
            "--volumes-from",
            "one:ro",
            "bb",
            "cat",
            "/data/seed",
            "/data/f",
            "/vol/f"
        ]),
        "from the image\na\nb"
    );
    let ran = lab.docker(&[
        "run",
        "--rm",
        "--volumes-from",
        "one:ro",
        "bb",
        "touch",
        "/vol/g",
    ]);
    assert!(ran.err.contains("Read-only file system"), "{ran:?}");
    // One's own come before those of others.
    assert_eq!(
        lab.ok(&[
            "run",
            "--rm",
            "--volumes-from",
            "one",
            "-v",
            "other:/vol",
            "bb",
            "ls",
            "/vol"
        ]),
        ""
    );
    // An anonymous one goes with its last user.
    let name = lab.inspect(
        "one",
        r#"{{range .Mounts}}{{if eq .Destination "/data"}}{{.Name}}{{end}}{{end}}"#,
    );
    lab.ok(&[
        "create",
        "--name",
        "two",
        "--volumes-from",
        "one",
        "bb",
        "true",
    ]);
    lab.ok(&["rm", "-v", "one"]);
    assert!(lab.ok(&["volume", "ls", "-q"]).contains(&name));
    lab.ok(&["rm", "-v", "two"]);
    assert!(!lab.ok(&["volume", "ls", "-q"]).contains(&name));
    for (option, text) in [
        ("nobody", "No such container: nobody"),
        ("x:bogus", "invalid mode: bogus"),
    ] {
        let error = lab.fails(125, &["run", "--volumes-from", option, "bb", "true"]);
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn links() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.sleeper("db", &["-h", "dbhost", "-e", "PASS=x", "--expose", "5432"]);
    let ip = |name: &str| lab.inspect(name, "{{.NetworkSettings.IPAddress}}");
    let db = ip("db");
    let out = lab.ok(&[
        "run",
        "--rm",
        "--name",
        "web",
        "--link",
        "db:my-store",
        "bb",
        "sh",
        "-c",
        "env; cat /etc/hosts; ping -c 1 my-store",
    ]);
    for line in [
        format!("MY_STORE_PORT=tcp://{db}:5432"),
        format!("MY_STORE_PORT_5432_TCP_ADDR={db}"),
        "MY_STORE_NAME=/web/my-store".into(),
        "MY_STORE_ENV_PASS=x".into(),
        format!("{db}\tmy-store dbhost db"),
    ] {
        assert!(out.lines().any(|found| found == line), "{line} in {out}");
    }
    lab.sleeper("web", &["--link", "db", "--link", "db:again"]);
    assert_eq!(
        lab.inspect("web", "{{json .HostConfig.Links}}"),
        r#"["/db:/web/db","/db:/web/again"]"#
    );
    assert!(
        lab.ok(&[
            "ps",
            "--no-trunc",
            "--filter",
            "name=db",
            "--format",
            "{{.Names}}"
        ])
        .contains("web/again")
    );
    assert_eq!(lab.inspect("web/again", "{{.Name}}"), "/db");
    assert!(
        lab.ok(&["exec", "web", "env"])
            .contains("DB_PORT_5432_TCP_PORT=5432")
    );
    // One that moved is found at its new place.
    lab.ok(&["stop", "-t", "0", "db"]);
    lab.sleeper("squatter", &[]);
    lab.ok(&["start", "db"]);
    let moved = ip("db");
    let hosts = lab.ok(&["exec", "web", "cat", "/etc/hosts"]);
    assert!(hosts.contains(&format!("{moved}\tdb dbhost\n")), "{hosts}");
    assert_eq!(hosts.matches("dbhost").count(), 2, "{hosts}");
    lab.ok(&["rm", "--link", "/web/again"]);
    assert_eq!(
        lab.inspect("web", "{{json .HostConfig.Links}}"),
        r#"["/db:/web/db"]"#
    );
    // Who is linked to must run.
    lab.ok(&["stop", "-t", "0", "web", "db"]);
    let error = lab.fails(1, &["start", "web"]);
    assert!(
        error.contains("Cannot link to a non running container: /db AS /web/db"),
        "{error}"
    );
    for (options, text) in [
        (
            &["--link", "nobody"][..],
            "could not get container for nobody: No such container: nobody",
        ),
        (
            &["--link", "db", "--network", "host"],
            "host type networking can't be used with links",
        ),
        (&["--link", "a:b:c"], "bad format for links: a:b:c"),
    ] {
        let error = lab.fails(125, &[&["run"], options, &["bb", "true"]].concat());
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn namespaces_of_others() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.sleeper("one", &["--ipc", "shareable"]);
    let of = |options: &[&str], kind: &str| {
        let link = format!("/proc/self/ns/{kind}");
        lab.ok(&[&["run", "--rm"], options, &["bb", "readlink", &link]].concat())
    };
    let one = |kind: &str| lab.ok(&["exec", "one", "readlink", &format!("/proc/self/ns/{kind}")]);
    let host = |kind: &str| {
        lab.inside(&["readlink", &format!("/proc/self/ns/{kind}")])
            .out
            .trim_end()
            .to_owned()
    };
    assert_eq!(of(&["--pid", "container:one"], "pid"), one("pid"));
    assert_eq!(of(&["--ipc", "container:one"], "ipc"), one("ipc"));
    assert_eq!(of(&["--network", "container:one"], "net"), one("net"));
    lab.ok(&["exec", "one", "touch", "/dev/shm/seen"]);
    lab.ok(&[
        "run",
        "--rm",
        "--ipc",
        "container:one",
        "bb",
        "ls",
        "/dev/shm/seen",
    ]);
    for (option, kind) in [
        ("--pid", "pid"),
        ("--ipc", "ipc"),
        ("--uts", "uts"),
        ("--network", "net"),
        ("--cgroupns", "cgroup"),
    ] {
        assert_eq!(of(&[option, "host"], kind), host(kind), "{option}");
    }
    assert_ne!(of(&["--cgroupns", "private"], "cgroup"), host("cgroup"));
    assert_eq!(of(&["--userns", "host"], "user"), host("user"));
    let none = lab.docker(&["run", "--rm", "--ipc", "none", "bb", "ls", "/dev/shm"]);
    assert_ne!(none.code, 0, "{none:?}");
    lab.sleeper("closed", &["--ipc", "private"]);
    let error = lab.fails(125, &["run", "--ipc", "container:closed", "bb", "true"]);
    assert!(error.contains("non-shareable IPC"), "{error}");
    let error = lab.fails(125, &["run", "--userns", "bogus", "bb", "true"]);
    assert!(error.contains("userns"), "{error}");
}

#[test]
fn the_needed_start_first_and_end_last() {
    if !root() {
        return;
    }
    let mut lab = Lab::with(Options {
        flags: vec!["--live-restore=false".into()],
        ..Options::default()
    });
    let label = |key: &str, value: &str| format!("com.docker.compose.{key}={value}");
    let project = label("project", "shop");
    let service = |name: &str, options: &[&str], command: &str| {
        let run = ["run", "-d", "--name", name, "--restart", "always"];
        lab.ok(&[&run[..], options, &["bb", "sh", "-c", command]].concat());
    };
    service(
        "db",
        &[
            "--label",
            &project,
            "--label",
            &label("service", "db"),
            "--health-cmd",
            "test -e /tmp/ready",
            "--health-interval",
            "100ms",
            "--health-retries",
            "1000",
            "--tmpfs",
            "/tmp",
        ],
        "trap exit TERM; touch /tmp/ready; while :; do sleep 0.1; done",
    );
    service(
        "app",
        &[
            "--label",
            &project,
            "--label",
            &label("service", "app"),
            "--label",
            &label("depends_on", "db:service_healthy:false"),
        ],
        "trap exit TERM; while :; do sleep 0.1; done",
    );
    service(
        "web",
        &["--link", "app"],
        "trap exit TERM; while :; do sleep 0.1; done",
    );
    lab.becomes("db", "{{.State.Health.Status}}", "healthy");
    let since = lab.now();
    lab.stop_daemon();
    lab.start_daemon();
    for name in ["db", "app", "web"] {
        lab.becomes(name, "{{.State.Status}}", "running");
    }
    let filters = ["event=start", "event=die", "event=health_status"];
    let events = lab.events(&since, &filters, "{{.Action}} {{.Actor.Attributes.name}}");
    let order: Vec<&str> = events.lines().collect();
    let wanted = [
        "die web",
        "die app",
        "die db",
        "start db",
        "health_status: healthy db",
        "start app",
        "start web",
    ];
    assert_eq!(order, wanted);
}
