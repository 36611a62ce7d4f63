//! Devices: nodes, rules, the Container Device Interface and `--gpus`; and other images' files.

use e2e::{Lab, Options, root};

const SPECIFICATION: &str = r#"
cdiVersion: "0.6.0"
kind: nvidia.com/gpu
containerEdits:
  env: ["MAKER=corten"]
devices:
- name: "0"
  containerEdits:
    deviceNodes: [{path: /dev/gpu0, hostPath: /dev/zero, permissions: rw}]
    additionalGids: [4321]
- name: all
  containerEdits:
    env: ["ALL=yes"]
    mounts: [{hostPath: HOST, containerPath: /gpu/lib, options: [ro, rbind]}]
"#;

#[test]
fn devices_by_their_interface() {
    if !root() {
        return;
    }
    let dir = tempfile::tempdir().expect("directory");
    let lib = dir.path().join("lib");
    std::fs::create_dir(&lib).expect("directory");
    std::fs::write(lib.join("driver"), "here\n").expect("file");
    let text = SPECIFICATION.replace("HOST", &lib.display().to_string());
    std::fs::write(dir.path().join("gpu.yaml"), text).expect("file");
    let lab = Lab::with(Options {
        flags: vec![format!("--cdi-spec-dir={}", dir.path().display())],
        ..Options::default()
    });
    let run = |options: &[&str], command: &str| {
        lab.ok(&[&["run", "--rm"], options, &["bb", "sh", "-c", command]].concat())
    };
    let one = "head -c 3 /dev/gpu0 | wc -c; id -G; env | grep -E '^(MAKER|ALL)='";
    let seen = run(&["--device", "nvidia.com/gpu=0"], one);
    assert_eq!(seen, "3\n0 4321\nMAKER=corten");
    assert_eq!(run(&["--gpus", "1"], one), "3\n0 4321\nMAKER=corten");
    let seen = run(
        &["--gpus", "all"],
        "cat /gpu/lib/driver; touch /gpu/lib/x 2>&1; echo $ALL",
    );
    assert_eq!(seen, "here\ntouch: /gpu/lib/x: Read-only file system\nyes");
    let info = lab.get("/v1.51/info").body;
    assert!(
        info.contains(r#"{"Source":"cdi","ID":"nvidia.com/gpu=0"}"#),
        "{info}"
    );
    assert!(info.contains(&format!(r#""CDISpecDirs":["{}"]"#, dir.path().display())));
    assert!(!lab.get("/v1.49/info").body.contains("DiscoveredDevices"));
    for (options, text) in [
        (
            &["--device", "x.org/thing=none"][..],
            "unresolvable CDI devices x.org/thing=none",
        ),
        (
            &["--gpus", "7"],
            "unresolvable CDI devices nvidia.com/gpu=1",
        ),
        (
            &["--gpus", "driver=tpu"],
            "could not select device driver \"tpu\" with capabilities: [[gpu]]",
        ),
    ] {
        let error = lab.fails(125, &[&["run", "--rm"], options, &["bb", "true"]].concat());
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn nodes_and_rules() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let run = |options: &[&str], command: &str| {
        let ran = lab.docker(&[&["run", "--rm"], options, &["bb", "sh", "-c", command]].concat());
        (ran.code, ran.out.trim_end().to_owned())
    };
    // Reading is allowed, writing is not.
    let node = "head -c 2 /dev/mine | wc -c; echo x > /dev/mine && echo written";
    assert_eq!(
        run(
            &["--device", "/dev/kmsg:/dev/mine:w"],
            "test -c /dev/mine && echo node"
        )
        .1,
        "node"
    );
    assert_eq!(
        run(&["--device", "/dev/zero:/dev/mine"], node).1,
        "2\nwritten"
    );
    // A node made inside works only by a rule.
    let make = "mknod /tmp/ram b 1 0 && { exec 3</tmp/ram; } 2>&1 | grep -c 'not permitted'";
    assert_eq!(run(&[], make).1, "1");
    assert_eq!(run(&["--device-cgroup-rule", "b 1:0 rwm"], make).1, "0");
    let made = "mknod /tmp/kmsg c 1 11; exec 3>/tmp/kmsg && echo open";
    assert_ne!(run(&[], made).1, "open");
    assert_eq!(run(&["--device-cgroup-rule", "c 1:* rwm"], made).1, "open");
}

#[test]
fn other_images_files() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let run = |mount: &str, command: &str| {
        lab.ok(&["run", "--rm", "--mount", mount, "bb", "sh", "-c", command])
    };
    let cat = "cat /other/data/seed; touch /other/x 2>&1 || true";
    let wanted = "from the image\ntouch: /other/x: Read-only file system";
    assert_eq!(run("type=image,source=bb,target=/other", cat), wanted);
    assert_eq!(
        run(
            "type=image,source=bb,target=/other,image-subpath=data",
            "ls /other"
        ),
        "seed"
    );
    assert_eq!(
        run(
            "type=image,source=bb,target=/file,image-subpath=data/seed",
            "cat /file"
        ),
        "from the image"
    );
    lab.ok(&[
        "create",
        "--name",
        "kept",
        "--mount",
        "type=image,source=bb,target=/other",
        "bb",
        "true",
    ]);
    let point = lab.inspect(
        "kept",
        "{{with index .Mounts 0}}{{.Type}} {{.Source}} {{.Destination}}{{end}}",
    );
    assert_eq!(point, "image bb /other");
    for (mount, text) in [
        (
            "type=image,source=bb,target=/x,image-subpath=../x",
            "subpath must be a relative path",
        ),
        (
            "type=image,source=nothing,target=/x",
            "No such image: nothing",
        ),
        (
            "type=image,source=bb,target=/x,image-subpath=nothing",
            "No such file or directory",
        ),
    ] {
        let ran = lab.docker(&[
            "run", "--rm", "--pull", "never", "--mount", mount, "bb", "true",
        ]);
        assert!(ran.code != 0 && ran.err.contains(text), "{mount}: {ran:?}");
    }
}
