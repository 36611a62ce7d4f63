//! `docker run -v`, `--mount`, `--tmpfs`, `--shm-size`: what is mounted, how, and what is refused.

use e2e::{Lab, root};

#[test]
fn binds() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let dir = lab.directory("host dir");
    std::fs::write(dir.join("file"), "hello\n").expect("file");
    let dir = dir.display().to_string();
    let bind = format!("{dir}:/mnt");
    assert_eq!(
        lab.ok(&[
            "run",
            "--rm",
            "-v",
            &bind,
            "bb",
            "sh",
            "-c",
            "cat /mnt/file; echo new > /mnt/made"
        ]),
        "hello"
    );
    assert_eq!(
        std::fs::read_to_string(format!("{dir}/made")).expect("made"),
        "new\n"
    );
    let ran = lab.docker(&[
        "run",
        "--rm",
        "-v",
        &format!("{bind}:ro"),
        "bb",
        "sh",
        "-c",
        "cat /mnt/made; touch /mnt/x",
    ]);
    assert_eq!((ran.code, ran.out.as_str()), (1, "new\n"));
    assert!(ran.err.contains("Read-only file system"), "{}", ran.err);
    // One file, and a directory that is made for it.
    let file = format!("{dir}/file:/etc/one");
    assert_eq!(
        lab.ok(&["run", "--rm", "-v", &file, "bb", "cat", "/etc/one"]),
        "hello"
    );
    let missing = format!("{dir}/new/deep");
    lab.ok(&[
        "run",
        "--rm",
        "-v",
        &format!("{missing}:/x"),
        "bb",
        "touch",
        "/x/y",
    ]);
    assert!(std::path::Path::new(&missing).join("y").is_file());
    let id = lab.ok(&["create", "-v", &format!("{bind}:ro"), "bb", "true"]);
    assert_eq!(
        lab.inspect(&id, "{{range .Mounts}}{{.Type}} {{.Source}} {{.Destination}} {{.Mode}} {{.RW}} {{.Propagation}}{{end}}"),
        format!("bind {dir} /mnt ro false rprivate")
    );
    assert_eq!(
        lab.inspect(&id, "{{json .HostConfig.Binds}}"),
        format!("[\"{bind}:ro\"]")
    );
    for (args, text) in [
        (&["-v", "./rel/x:/x"][..], ""),
        (
            &["-v", "/x:rel"],
            "invalid volume specification: '/x:rel': invalid mount config for type \"bind\": invalid mount path: 'rel' mount path must be absolute",
        ),
        (&["-v", "/x:/y:bogus"], "invalid mode: bogus"),
        (
            &["-v", "/x:/"],
            "invalid volume specification: '/x:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
        ),
        (&["-v", "/a:/x", "-v", "/b:/x"], "Duplicate mount point: /x"),
        (
            &["-v", "bad!name:/x"],
            "bad!name\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
        ),
        (&["-v", "/x:/y:ro,ro"], "invalid mode: ro,ro"),
        (
            &["--mount", "type=bind,src=/nonexistent/dir,dst=/x"],
            "invalid mount config for type \"bind\": bind source path does not exist: /nonexistent/dir",
        ),
        (
            &["--mount", "type=bind,dst=/x"],
            "invalid mount config for type \"bind\": field Source must not be empty",
        ),
        (
            &["--mount", "type=tmpfs,src=a1,dst=/x"],
            "invalid mount config for type \"tmpfs\": field Source must not be specified",
        ),
        (&["--tmpfs", "/x:bogus=1"], "bogus"),
        (&["--mount", "type=bogus,dst=/x"], "bogus"),
    ] {
        let ran = lab.docker(&[&["run", "--rm"], args, &["bb", "true"]].concat());
        if text.is_empty() {
            assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        } else {
            assert!(
                ran.code == 125 && ran.err.contains(text),
                "{args:?}: {ran:?}\nlacks {text}"
            );
        }
    }
}

#[test]
fn volumes() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    // The image's files are copied into a new one, and only once.
    assert_eq!(
        lab.ok(&[
            "run",
            "--rm",
            "-v",
            "named:/data",
            "bb",
            "sh",
            "-c",
            "cat /data/seed; rm /data/seed; echo kept > /data/mine"
        ]),
        "from the image"
    );
    assert_eq!(
        lab.ok(&["run", "--rm", "-v", "named:/data", "bb", "ls", "/data"]),
        "mine"
    );
    assert_eq!(
        lab.ok(&[
            "run",
            "--rm",
            "-v",
            "empty:/data:nocopy",
            "bb",
            "ls",
            "-A",
            "/data"
        ]),
        ""
    );
    let ran = lab.docker(&[
        "run",
        "--rm",
        "-v",
        "named:/data:ro",
        "bb",
        "touch",
        "/data/x",
    ]);
    assert!(
        ran.code == 1 && ran.err.contains("Read-only file system"),
        "{ran:?}"
    );
    assert_eq!(
        lab.ok(&[
            "run",
            "--rm",
            "--mount",
            "type=volume,source=named,target=/m,readonly",
            "bb",
            "cat",
            "/m/mine"
        ]),
        "kept"
    );
    lab.ok(&[
        "run",
        "--rm",
        "--mount",
        "type=volume,src=labelled,dst=/m,volume-label=k=v",
        "bb",
        "true",
    ]);
    assert_eq!(
        lab.ok(&[
            "volume",
            "inspect",
            "-f",
            "{{.Driver}} {{.Scope}} {{json .Labels}}",
            "labelled"
        ]),
        "local local {\"k\":\"v\"}"
    );
    assert_eq!(lab.ok(&["volume", "ls", "-q"]), "empty\nlabelled\nnamed");
    // One that nobody named goes with its container when that is asked for.
    let id = lab.ok(&["create", "-v", "/anon", "bb", "true"]);
    let name = lab.inspect(&id, "{{range .Mounts}}{{.Name}}{{end}}");
    assert_eq!(name.len(), 64);
    let err = lab.fails(1, &["volume", "rm", &name]);
    assert_eq!(
        err,
        format!("Error response from daemon: remove {name}: volume is in use - [{id}]\n")
    );
    lab.ok(&["rm", &id]);
    assert!(
        lab.ok(&["volume", "ls", "-q", "-f", "dangling=true"])
            .contains(&name)
    );
    let pruned = lab.ok(&["volume", "prune", "-f"]);
    assert!(
        pruned.starts_with(&format!(
            "Deleted Volumes:\n{name}\n\nTotal reclaimed space: "
        )),
        "{pruned}"
    );
    let id = lab.ok(&["create", "-v", "/anon", "-v", "named:/n", "bb", "true"]);
    lab.ok(&["rm", "-v", &id]);
    assert_eq!(lab.ok(&["volume", "ls", "-q"]), "empty\nlabelled\nnamed");
    assert_eq!(lab.ok(&["volume", "create", "named"]), "named");
    assert_eq!(
        lab.fails(1, &["volume", "inspect", "nosuch"]),
        "[]Error response from daemon: get nosuch: no such volume\n".trim_start_matches("[]")
    );
    assert_eq!(lab.ok(&["volume", "rm", "named", "empty"]), "named\nempty");
    assert_eq!(
        lab.fails(1, &["volume", "rm", "named"]),
        "Error response from daemon: get named: no such volume\n"
    );
    assert_eq!(lab.ok(&["volume", "rm", "-f", "named"]), "named");
    let err = lab.fails(1, &["volume", "create", "-d", "nosuch", "vol"]);
    assert!(err.contains("plugin \"nosuch\" not found"), "{err}");
    let err = lab.fails(1, &["volume", "create", "-o", "type=nfs", "vol"]);
    assert!(
        err.contains("\"type\"") && err.contains("not supported yet"),
        "{err}"
    );
}

#[test]
fn tmpfs_and_shm() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let mount = |args: &[&str], path: &str| {
        let script = format!("grep ' {path} ' /proc/mounts; stat -c %a {path}");
        lab.ok(&[&["run", "--rm"], args, &["bb", "sh", "-c", &script]].concat())
    };
    let plain = mount(&["--tmpfs", "/t"], "/t");
    assert!(
        plain.starts_with("tmpfs /t tmpfs rw,nosuid,nodev,noexec,relatime"),
        "{plain}"
    );
    assert!(plain.ends_with("1777"), "{plain}");
    let options = mount(&["--tmpfs", "/t:rw,size=1m,mode=700,exec"], "/t");
    assert!(
        options.contains("size=1024k") && options.ends_with("\n700") && !options.contains("noexec"),
        "{options}"
    );
    let long = mount(
        &["--mount", "type=tmpfs,dst=/t,tmpfs-size=2m,tmpfs-mode=0750"],
        "/t",
    );
    assert!(
        long.contains("size=2048k") && long.ends_with("\n750"),
        "{long}"
    );
    let full = lab.docker(&[
        "run",
        "--rm",
        "--tmpfs",
        "/t:size=64k",
        "bb",
        "dd",
        "if=/dev/zero",
        "of=/t/x",
        "bs=1k",
        "count=100",
    ]);
    assert!(
        full.code == 1 && full.err.contains("No space left on device"),
        "{full:?}"
    );
    let shm = |args: &[&str]| mount(args, "/dev/shm");
    assert!(shm(&[]).contains("size=65536k"), "{}", shm(&[]));
    assert!(shm(&["--shm-size", "8m"]).contains("size=8192k"));
}

#[test]
fn read_only_root() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let ran = lab.docker(&[
        "run",
        "--rm",
        "--read-only",
        "--tmpfs",
        "/run",
        "-v",
        "vol:/data",
        "bb",
        "sh",
        "-c",
        "touch /run/a /data/b /dev/shm/c && echo fine; touch /etc/x",
    ]);
    assert_eq!((ran.code, ran.out.as_str()), (1, "fine\n"));
    assert!(ran.err.contains("Read-only file system"), "{}", ran.err);
}
