//! `update` of labels and bind mounts: Corten's own, on containers that run and that do not.

use e2e::{Lab, root};

#[track_caller]
fn update(lab: &Lab, args: &[&str]) {
    let ran = lab.corten(&[&["update"], args].concat());
    assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
}

#[track_caller]
fn refused(lab: &Lab, args: &[&str], text: &str) {
    let ran = lab.corten(&[&["update"], args].concat());
    assert!(ran.code != 0 && ran.err.contains(text), "{args:?}: {ran:?}");
}

#[test]
fn labels() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    lab.sleeper("one", &["--label", "a=1", "--label", "b=2"]);
    let since = lab.now();
    update(
        &lab,
        &[
            "--label-add",
            "c=3",
            "--label-add",
            "a=9",
            "--label-rm",
            "b",
            "one",
        ],
    );
    let labels = "{{json .Config.Labels}}";
    assert_eq!(lab.inspect("one", labels), r#"{"a":"9","c":"3"}"#);
    assert_eq!(lab.ok(&["ps", "-q", "--filter", "label=c=3"]).len(), 12);
    assert_eq!(lab.ok(&["ps", "-q", "--filter", "label=b"]), "");
    let told = lab.events(&since, &["event=update"], "{{.Actor.Attributes.c}}");
    assert_eq!(told, "3");
    refused(&lab, &["--label-rm", "b", "one"], "no such label: b");
    refused(
        &lab,
        &["--label-add", "=x", "one"],
        "invalid label: its name is empty",
    );
    refused(
        &lab,
        &["--label-add", "io.corten.unhealthy-action=dance", "one"],
        "Cannot update container",
    );
    lab.kill_daemon();
    lab.start_daemon();
    assert_eq!(lab.inspect("one", labels), r#"{"a":"9","c":"3"}"#);
}

#[test]
fn bind_mounts_come_and_go() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    let dir = lab.directory("shared");
    std::fs::write(dir.join("file"), "from the host\n").expect("file");
    let source = dir.display().to_string();
    let mount =
        |target: &str, more: &str| format!("type=bind,source={source},target={target}{more}");
    lab.sleeper("one", &["-v", &format!("{source}:/first")]);
    update(
        &lab,
        &[
            "--mount-add",
            &mount("/new/place", ""),
            "--mount-add",
            &mount("/ro", ",readonly"),
            "one",
        ],
    );
    assert_eq!(
        lab.ok(&["exec", "one", "cat", "/new/place/file", "/ro/file"]),
        "from the host\nfrom the host"
    );
    lab.ok(&["exec", "one", "touch", "/new/place/made"]);
    assert!(dir.join("made").exists());
    let ran = lab.docker(&["exec", "one", "touch", "/ro/made"]);
    assert!(
        ran.code != 0 && ran.err.contains("Read-only file system"),
        "{ran:?}"
    );
    let shown = lab.inspect("one", "{{range .Mounts}}{{.Destination}} {{.RW}};{{end}}");
    for one in ["/first true;", "/new/place true;", "/ro false;"] {
        assert!(shown.contains(one), "{shown}");
    }
    // Nothing of it is mounted on the host, and all of it is there after restarts of both.
    let mounts = lab.inside(&["cat", "/proc/self/mountinfo"]).out;
    assert!(!mounts.contains("/new/place"), "{mounts}");
    lab.kill_daemon();
    lab.start_daemon();
    update(&lab, &["--mount-rm", "/first", "one"]);
    assert_eq!(
        lab.docker(&["exec", "one", "test", "-e", "/first/file"])
            .code,
        1
    );
    lab.ok(&["restart", "-t", "0", "one"]);
    assert_eq!(
        lab.ok(&["exec", "one", "cat", "/new/place/file"]),
        "from the host"
    );
    assert_eq!(
        lab.docker(&["exec", "one", "test", "-e", "/first/file"])
            .code,
        1
    );
    assert_eq!(lab.docker(&["exec", "one", "touch", "/ro/made"]).code, 1);
    // One takes the place of another; a file; a container that does not run.
    let other = lab.path("other");
    std::fs::write(&other, "other\n").expect("file");
    lab.ok(&["exec", "one", "mkdir", "-p", "/x"]);
    refused(
        &lab,
        &["--mount-add", &mount("/ro", ""), "one"],
        "Duplicate mount point: /ro",
    );
    update(&lab, &["--mount-rm", "/ro", "one"]);
    let inner = format!("type=bind,source={},target=/x/file", other.display());
    update(&lab, &["--mount-add", &inner, "one"]);
    assert_eq!(lab.ok(&["exec", "one", "cat", "/x/file"]), "other");
    lab.ok(&["stop", "-t", "0", "one"]);
    update(
        &lab,
        &[
            "--mount-rm",
            "/x/file",
            "--mount-add",
            &mount("/later", ""),
            "one",
        ],
    );
    lab.ok(&["start", "one"]);
    assert_eq!(
        lab.ok(&["exec", "one", "cat", "/later/file"]),
        "from the host"
    );
    assert_eq!(lab.ok(&["exec", "one", "sh", "-c", "wc -c < /x/file"]), "0");
    // All or nothing: a directory cannot go where a file is.
    refused(
        &lab,
        &[
            "--mount-add",
            &mount("/good", ""),
            "--mount-add",
            &mount("/etc/passwd", ""),
            "one",
        ],
        "/etc/passwd",
    );
    assert_eq!(
        lab.docker(&["exec", "one", "test", "-e", "/good/file"])
            .code,
        1
    );
    assert!(!lab.inspect("one", "{{json .Mounts}}").contains("/good"));
    refused(
        &lab,
        &["--mount-rm", "/nothing", "one"],
        "nothing is mounted at /nothing",
    );
    refused(
        &lab,
        &["--mount-add", "type=tmpfs,target=/t", "one"],
        "only bind mounts are",
    );
    refused(
        &lab,
        &["--mount-add", "type=bind,source=/no/such,target=/t", "one"],
        "bind source path does not exist: /no/such",
    );
}

#[test]
fn what_is_refused_changes_nothing() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let dir = lab.path("shared");
    std::fs::create_dir(&dir).expect("dir");
    std::fs::write(dir.join("file"), "there\n").expect("file");
    let binds = ["/a", "/x/b"].map(|target| format!("{}:{target}", dir.display()));
    lab.sleeper("one", &["-v", &binds[0], "-v", &binds[1]]);
    // There is no way to the second one any more.
    let spoil = "umount /x/b && rmdir /x/b /x && touch /x";
    lab.ok(&["exec", "--privileged", "one", "sh", "-c", spoil]);
    let both = ["--mount-rm", "/a", "--mount-rm", "/x/b", "one"];
    refused(&lab, &both, "unmount /x/b");
    assert_eq!(lab.ok(&["exec", "one", "cat", "/a/file"]), "there");
    let shown = lab.inspect("one", "{{range .Mounts}}{{.Destination}};{{end}}");
    assert_eq!(shown, "/a;/x/b;");
}

#[test]
fn the_source_of_an_added_mount_is_made_where_that_is_asked_for() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let source = lab.path("not/yet");
    lab.sleeper("one", &[]);
    let spec = format!(
        "type=bind,source={},target=/made,bind-create-src",
        source.display()
    );
    update(&lab, &["--mount-add", &spec, "one"]);
    lab.ok(&["exec", "one", "touch", "/made/here"]);
    assert!(source.join("here").exists());
}

#[test]
fn no_link_of_the_container_leads_out() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let dir = lab.directory("shared");
    lab.sleeper("one", &[]);
    lab.ok(&["exec", "one", "ln", "-s", "../../../../tmp", "/link"]);
    let spec = format!("type=bind,source={},target=/link/here", dir.display());
    update(&lab, &["--mount-add", &spec, "one"]);
    lab.ok(&["exec", "one", "touch", "/tmp/here/made"]);
    assert!(dir.join("made").exists(), "in the container's own /tmp");
    assert!(!std::path::Path::new("/tmp/here").exists());
    // The last name is a link, too: the mount is where it leads, and goes from there.
    lab.ok(&["exec", "one", "ln", "-s", "/tmp/there", "/end"]);
    let spec = format!("type=bind,source={},target=/end", dir.display());
    update(&lab, &["--mount-add", &spec, "one"]);
    lab.ok(&["exec", "one", "test", "-e", "/tmp/there/made"]);
    update(&lab, &["--mount-rm", "/end", "one"]);
    let ran = lab.docker(&["exec", "one", "test", "-e", "/tmp/there/made"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    // Not over what programs and the runtime trust.
    lab.ok(&["exec", "one", "ln", "-s", "/proc/self", "/own"]);
    for target in ["/own/attr", "/proc/sys/kernel", "/"] {
        let spec = format!("type=bind,source={},target={target}", dir.display());
        refused(&lab, &["--mount-add", &spec, "one"], "Cannot update");
    }
}

#[test]
fn what_the_container_has_moved_is_not_called_removed() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let dir = lab.path("shared");
    std::fs::create_dir(&dir).expect("dir");
    std::fs::write(dir.join("file"), "").expect("file");
    lab.sleeper("one", &["-v", &format!("{}:/a/b", dir.display())]);
    lab.ok(&["exec", "one", "sh", "-c", "mv /a /c && mkdir -p /a/b"]);
    lab.ok(&["exec", "one", "test", "-e", "/c/b/file"]);
    refused(&lab, &["--mount-rm", "/a/b", "one"], "has moved it");
    assert!(lab.inspect("one", "{{json .Mounts}}").contains("/a/b"));
    lab.ok(&["stop", "-t", "0", "one"]);
    update(&lab, &["--mount-rm", "/a/b", "one"]);
    lab.ok(&["start", "one"]);
    let ran = lab.docker(&["exec", "one", "test", "-e", "/c/b/file"]);
    assert_eq!(ran.code, 1, "{ran:?}");
}
