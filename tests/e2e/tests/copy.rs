//! `docker cp`, `export`, `import`.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use e2e::{Lab, root};

#[test]
fn files_and_directories_both_ways() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    // The same whether it runs or not.
    lab.ok(&["run", "-d", "--name", "up", "bb", "sleep", "1000"]);
    lab.ok(&["create", "--name", "down", "bb", "true"]);
    let dir = lab.path("src");
    std::fs::create_dir_all(dir.join("sub")).expect("dirs");
    std::fs::write(dir.join("sub/file"), "content\n").expect("file");
    std::fs::set_permissions(dir.join("sub/file"), std::fs::Permissions::from_mode(0o640))
        .expect("mode");
    symlink("sub/file", dir.join("link")).expect("link");
    let src = dir.display().to_string();
    for name in ["up", "down"] {
        let at = |path: &str| format!("{name}:{path}");
        lab.ok(&["cp", &format!("{src}/sub/file"), &at("/tmp/renamed")]);
        lab.ok(&["cp", &format!("{src}/sub/file"), &at("/tmp/")]);
        // A directory into one that is there, its content only, and to a new name.
        lab.ok(&["cp", &src, &at("/tmp")]);
        lab.ok(&["cp", &format!("{src}/."), &at("/home")]);
        lab.ok(&["cp", &src, &at("/fresh")]);
        let back = lab.path(&format!("back-{name}"));
        std::fs::create_dir(&back).expect("dir");
        let to = back.display().to_string();
        lab.ok(&["cp", &at("/tmp/src"), &to]);
        let file = back.join("src/sub/file");
        assert_eq!(std::fs::read_to_string(&file).expect("file"), "content\n");
        assert_eq!(
            std::fs::metadata(&file).expect("stat").mode() & 0o7777,
            0o640
        );
        assert_eq!(
            std::fs::read_link(back.join("src/link"))
                .expect("link")
                .to_str(),
            Some("sub/file")
        );
        for path in [
            "/tmp/renamed",
            "/tmp/file",
            "/home/sub/file",
            "/fresh/sub/file",
            "/data/seed",
        ] {
            lab.ok(&["cp", &at(path), &format!("{to}/one")]);
            let expected = if path == "/data/seed" {
                "from the image\n"
            } else {
                "content\n"
            };
            assert_eq!(
                std::fs::read_to_string(back.join("one")).expect("one"),
                expected,
                "{path}"
            );
        }
        // A link is copied as one, and followed when that is asked for.
        lab.ok(&["cp", &at("/fresh/link"), &format!("{to}/link1")]);
        assert!(
            std::fs::symlink_metadata(back.join("link1"))
                .expect("stat")
                .is_symlink()
        );
        lab.ok(&["cp", "-L", &at("/fresh/link"), &format!("{to}/link2")]);
        assert_eq!(
            std::fs::read_to_string(back.join("link2")).expect("file"),
            "content\n"
        );
        for (args, text) in [
            (
                [at("/nosuch"), to.clone()],
                format!(
                    "Error response from daemon: Could not find the file /nosuch in container {name}\n"
                ),
            ),
            (
                [format!("{src}/sub/file"), at("/no/such/dir")],
                format!(
                    "Error response from daemon: Could not find the file /no/such in container {name}\n"
                ),
            ),
            (
                [format!("{src}/nosuch"), at("/tmp")],
                format!("lstat {src}/nosuch: no such file or directory\n"),
            ),
            (
                [format!("{src}/sub/file"), at("/nosuch/")],
                "no such directory\n".into(),
            ),
            (
                [src.clone(), at("/data/seed")],
                "cannot copy directory\n".into(),
            ),
        ] {
            let err = lab.fails(1, &["cp", &args[0], &args[1]]);
            // The client may tell of its own broken pipe, too.
            assert!(err.contains(&text), "{args:?}: {err}");
        }
    }
    assert_eq!(lab.ok(&["exec", "up", "cat", "/fresh/link"]), "content");
    let err = lab.fails(1, &["cp", "nosuch:/x", "/tmp"]);
    assert_eq!(
        err,
        "Error response from daemon: No such container: nosuch\n"
    );
    let events = lab.ok(&[
        "events",
        "--since",
        "0",
        "--until",
        &lab.now(),
        "--filter",
        "container=up",
        "--format",
        "{{.Action}}",
    ]);
    assert!(
        events.contains("archive-path") && events.contains("extract-to-dir"),
        "{events}"
    );
}

#[test]
fn archives_on_streams() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&["create", "--name", "box", "bb", "cat", "/tmp/in/file"]);
    let output = lab
        .docker_command(&["cp", "box:/data", "-"])
        .output()
        .expect("docker");
    let mut archive = tar::Archive::new(output.stdout.as_slice());
    let names: Vec<String> = archive
        .entries()
        .expect("tar")
        .map(|e| {
            e.expect("entry")
                .path()
                .expect("path")
                .display()
                .to_string()
        })
        .collect();
    assert_eq!(names, ["data/", "data/seed"]);
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o604);
    header.set_uid(12);
    header.set_gid(13);
    tar.append_data(&mut header, "in/file", &b"abc"[..])
        .expect("entry");
    let file = lab.path("in.tar");
    std::fs::write(&file, tar.into_inner().expect("tar")).expect("file");
    let input = std::fs::File::open(&file).expect("file");
    let status = lab
        .docker_command(&["cp", "-", "box:/tmp"])
        .stdin(input)
        .status()
        .expect("docker");
    assert!(status.success());
    assert_eq!(lab.docker(&["start", "-a", "box"]).out, "abc");
    // Owners are root's unless the archive's are asked for.
    let input = std::fs::File::open(&file).expect("file");
    assert!(
        lab.docker_command(&["cp", "-a", "-", "box:/home"])
            .stdin(input)
            .status()
            .expect("docker")
            .success()
    );
    lab.ok(&["run", "-d", "--name", "see", "bb", "sleep", "1000"]);
    let input = std::fs::File::open(&file).expect("file");
    assert!(
        lab.docker_command(&["cp", "-", "see:/tmp"])
            .stdin(input)
            .status()
            .expect("docker")
            .success()
    );
    assert_eq!(
        lab.ok(&["exec", "see", "stat", "-c", "%a %s", "/tmp/in/file"]),
        "604 3"
    );
}

#[test]
fn links_stay_inside() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let secret = lab.path("secret");
    std::fs::write(&secret, "of the host\n").expect("file");
    let path = secret.display().to_string();
    lab.ok(&["run", "-d", "--name", "evil", "bb", "sh", "-c", &format!("ln -s / /root-link; ln -s {path} /out; ln -s ../../../../../../../../tmp /up; ln -s /proc/1/root /magic; exec sleep 1000")]);
    assert!(e2e::wait_for(std::time::Duration::from_secs(10), || lab
        .docker(&["exec", "evil", "test", "-L", "/magic"])
        .code
        == 0));
    let to = lab.path("got").display().to_string();
    let err = lab.fails(1, &["cp", "-L", "evil:/out", &to]);
    assert!(err.contains("Could not find the file"), "{err}");
    let err = lab.fails(1, &["cp", &format!("evil:/root-link{path}"), &to]);
    assert!(err.contains("Could not find the file"), "{err}");
    // Written through a link it lands in the container.
    lab.ok(&["cp", &path, "evil:/up/landed"]);
    assert_eq!(
        lab.ok(&["exec", "evil", "cat", "/tmp/landed"]),
        "of the host"
    );
    assert!(!std::path::Path::new("/tmp/landed").exists());
    let ran = lab.docker(&["cp", &path, "evil:/out"]);
    assert_eq!(
        std::fs::read_to_string(&secret).expect("file"),
        "of the host\n",
        "{ran:?}"
    );
    // Volumes and read-only ones.
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "vols",
        "-v",
        "data:/vol",
        "-v",
        "data:/ro:ro",
        "bb",
        "sleep",
        "1000",
    ]);
    lab.ok(&["cp", &path, "vols:/vol/file"]);
    assert_eq!(lab.ok(&["exec", "vols", "cat", "/ro/file"]), "of the host");
    let err = lab.fails(1, &["cp", &path, "vols:/ro/other"]);
    assert!(err.contains("mounted volume is marked read-only"), "{err}");
    lab.ok(&["create", "--name", "rofs", "--read-only", "bb", "true"]);
    let err = lab.fails(1, &["cp", &path, "rofs:/tmp/x"]);
    assert!(
        err.contains("container rootfs is marked read-only"),
        "{err}"
    );
}

#[test]
fn a_refused_upload_is_read_so_that_its_answer_arrives() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let body = "x".repeat(240_000);
    for _ in 0..10 {
        let answer = lab.send("PUT", "/containers/nosuch/archive?path=/tmp", &body);
        let text = answer.message();
        assert_eq!(
            (answer.status, text.as_str()),
            (404, "No such container: nosuch")
        );
    }
}

#[test]
fn exported_and_imported() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&[
        "run",
        "--name",
        "made",
        "bb",
        "sh",
        "-c",
        "echo mine > /made; rm /data/seed",
    ]);
    let file = lab.path("made.tar").display().to_string();
    lab.ok(&["export", "-o", &file, "made"]);
    let piped = lab
        .docker_command(&["export", "made"])
        .output()
        .expect("docker")
        .stdout;
    assert_eq!(
        piped.len() as u64,
        std::fs::metadata(&file).expect("stat").len()
    );
    let id = lab.ok(&[
        "import",
        "-c",
        "CMD [\"cat\", \"/made\"]",
        "-c",
        "ENV A=b",
        "-m",
        "a word",
        &file,
        "again:v1",
    ]);
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    assert_eq!(lab.ok(&["run", "--rm", "again:v1"]), "mine");
    assert_eq!(
        lab.docker(&["run", "--rm", "again:v1", "ls", "/data"]).out,
        ""
    );
    assert_eq!(
        lab.ok(&[
            "image",
            "inspect",
            "-f",
            "{{.Id}} {{json .Config.Env}} {{.Comment}}",
            "again:v1"
        ]),
        format!("{id} [\"A=b\"] a word")
    );
    let err = lab.fails(1, &["export", "nosuch"]);
    assert!(err.contains("No such container: nosuch"), "{err}");
}
