//! Lifecycle hooks.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci::runtime::*;
use runtime::hooks::Stage;
use runtime::*;

use crate::support::bed::{Bed, Test};
use crate::support::{process, spec};

pub const TESTS: &[Test] = &[
    ("hooks_order_and_places", order_and_places),
    ("hooks_state_env_and_args", state_env_and_args),
    ("hooks_failures", failures),
    ("hooks_timeout", timeout),
    ("hooks_after_the_start", after_the_start),
    ("hooks_join_the_mount_namespace", join_the_mount_namespace),
];

fn hook(script: &str) -> Hook {
    Hook {
        path: "/bin/sh".into(),
        args: vec!["sh".into(), "-c".into(), script.into()],
        ..Default::default()
    }
}

/// A spec whose root is a directory, as a bundle has it, and that bundle.
fn bundle(bed: &Bed, args: &[&str], hooks: Hooks) -> (Spec, PathBuf, PathBuf) {
    let dir = bed.bundle();
    let mut s = spec(args, true);
    s.oci_version = "1.3.0".into();
    s.annotations.insert("org.example".into(), "a \"b\"".into());
    s.hooks = Some(hooks);
    (s, dir.clone(), dir.join("rootfs"))
}

fn launch(bed: &Bed, spec: &Spec, bundle: &Path) -> runtime::Result<(i32, String)> {
    let name = Name { id: "lab1", bundle };
    bed.run_with(spec, Some(&bundle.join("rootfs")), Some(&name))
}

fn order_and_places(bed: &Bed) {
    let log = bed.lab.dir.join("order");
    let log = log.display();
    let write = |word: &str| {
        hook(&format!(
            "echo {word} $(readlink /proc/self/ns/net) $(readlink /proc/self/ns/mnt) $(pwd) >> {log}"
        ))
    };
    let hooks = Hooks {
        prestart: vec![write("prestart")],
        create_runtime: vec![write("runtime1"), write("runtime2")],
        create_container: vec![write("container")],
        ..Default::default()
    };
    let (mut s, dir, root) = bundle(bed, &["sh", "-c", "echo program; cat /hooked"], hooks);
    let touch = format!(
        "test ! -e {}/dev/null || echo made > {}/hooked",
        root.display(),
        root.display()
    );
    s.hooks
        .as_mut()
        .unwrap()
        .create_container
        .push(hook(&touch));
    let link = "echo $(busybox readlink /proc/self/ns/net) > /start; echo $PWD >> /start";
    s.hooks.as_mut().unwrap().start_container = vec![hook(link)];
    process(&mut s).args[2].push_str("; cat /start; busybox readlink /proc/self/ns/net");
    let (code, text) = launch(bed, &s, &dir).unwrap();
    assert_eq!(code, 0, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["program", "made"], "{text}");
    assert_eq!((lines[2], lines[3]), (lines[4], "/"), "same namespace");
    let inside = lines[4];
    let text = std::fs::read_to_string(bed.lab.dir.join("order")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split(' ').collect()).collect();
    let words: Vec<&str> = rows.iter().map(|r| r[0]).collect();
    assert_eq!(words, ["prestart", "runtime1", "runtime2", "container"]);
    let own = |what: &str| {
        let link = std::fs::read_link(format!("/proc/self/ns/{what}")).unwrap();
        link.to_string_lossy().into_owned()
    };
    for row in &rows[..3] {
        assert_eq!((row[1], row[2]), (own("net").as_str(), own("mnt").as_str()));
        assert_eq!(Path::new(row[3]), dir);
    }
    assert_eq!(rows[3][1], inside);
    assert_ne!(rows[3][2], own("mnt"));
    assert_eq!(Path::new(rows[3][3]), root);
}

fn state_env_and_args(bed: &Bed) {
    let out = bed.lab.dir.join("state");
    let script = format!(
        "cat > {0}; echo; cat /proc/$$/cmdline | tr '\\0' ' ' >> {0}; env | sort >> {0}",
        out.display()
    );
    let mut one = hook(&script);
    one.args.push("zero".into());
    one.env = vec!["PATH=/bin:/usr/bin".into(), "KEY=value".into()];
    let hooks = Hooks {
        create_runtime: vec![one],
        ..Default::default()
    };
    let (s, dir, _) = bundle(bed, &["sh", "-c", "exit 3"], hooks);
    let (code, _) = launch(bed, &s, &dir).unwrap();
    assert_eq!(code, 3);
    let text = std::fs::read_to_string(&out).unwrap();
    let (json, rest) = text.split_at(text.rfind('}').unwrap() + 1);
    let state: State = serde_json::from_str(json).unwrap();
    assert_eq!(
        (state.id.as_str(), state.status.as_str()),
        ("lab1", "creating")
    );
    assert_eq!(state.oci_version, "1.3.0");
    assert_eq!(Path::new(&state.bundle), dir);
    assert_eq!(state.annotations["org.example"], "a \"b\"");
    assert!(state.pid > 1);
    assert!(
        rest.contains("zero") && rest.contains("KEY=value\n"),
        "{rest}"
    );
    assert!(!rest.contains("CARGO"), "only its own environment: {rest}");
}

fn failures(bed: &Bed) {
    let message = |hooks: Hooks| {
        let (s, dir, _) = bundle(bed, &["sh", "-c", "echo ran"], hooks);
        launch(bed, &s, &dir).unwrap_err().message
    };
    let bad = || vec![hook("exit 0"), hook("echo no luck >&2; exit 4")];
    for (hooks, stage) in [
        (
            Hooks {
                prestart: bad(),
                ..Default::default()
            },
            "prestart",
        ),
        (
            Hooks {
                create_runtime: bad(),
                ..Default::default()
            },
            "createRuntime",
        ),
        (
            Hooks {
                create_container: bad(),
                ..Default::default()
            },
            "createContainer",
        ),
        (
            Hooks {
                start_container: bad(),
                ..Default::default()
            },
            "startContainer",
        ),
    ] {
        let text = message(hooks);
        assert_eq!(
            text,
            format!("error running {stage} hook #1: /bin/sh: exit status 4: no luck")
        );
    }
    let gone = Hook {
        path: "/no/such".into(),
        ..Default::default()
    };
    let text = message(Hooks {
        create_runtime: vec![gone],
        ..Default::default()
    });
    assert!(
        text.ends_with("exec /no/such: no such file or directory"),
        "{text}"
    );
    let text = message(Hooks {
        create_runtime: vec![hook("kill -9 $$")],
        ..Default::default()
    });
    assert!(text.ends_with("killed by signal 9"), "{text}");
    // A relative path, and no name to tell.
    let text = message(Hooks {
        poststart: vec![Hook {
            path: "sh".into(),
            ..Default::default()
        }],
        ..Default::default()
    });
    assert_eq!(text, "hooks.poststart[0].path: \"sh\" must be absolute");
    let (s, ..) = bundle(
        bed,
        &["true"],
        Hooks {
            poststop: vec![hook("")],
            ..Default::default()
        },
    );
    assert_eq!(bed.run(&s).unwrap_err().kind, Kind::Unsupported);
}

fn timeout(bed: &Bed) {
    let mut slow = hook("exec sleep 600");
    slow.timeout = Some(1);
    let (s, dir, _) = bundle(
        bed,
        &["true"],
        Hooks {
            create_runtime: vec![slow],
            ..Default::default()
        },
    );
    let before = Instant::now();
    let text = launch(bed, &s, &dir).unwrap_err().message;
    assert!(
        text.ends_with("ran past its timeout of 1 seconds"),
        "{text}"
    );
    assert!(before.elapsed() < Duration::from_secs(30));
    // One that leaves something behind with its output open is over when it is over itself.
    let mut quick = hook("sleep 600 & exit 0");
    quick.timeout = Some(60);
    let (s, dir, _) = bundle(
        bed,
        &["true"],
        Hooks {
            create_container: vec![quick],
            ..Default::default()
        },
    );
    let before = Instant::now();
    launch(bed, &s, &dir).unwrap();
    assert!(before.elapsed() < Duration::from_secs(30));
}

fn after_the_start(bed: &Bed) {
    let log = bed.lab.dir.join("after");
    let note = |word: &str| hook(&format!("cat >> {}; echo {word} >> {0}", log.display()));
    let hooks = Hooks {
        poststart: vec![note("poststart")],
        poststop: vec![hook("exit 1"), note("poststop")],
        ..Default::default()
    };
    let (s, dir, _) = bundle(bed, &["true"], hooks);
    let name = Name {
        id: "x",
        bundle: &dir,
    };
    hooks::run(Stage::Poststart, &s, &name, 4242).unwrap();
    let errors = hooks::poststop(&s, &name);
    assert_eq!(errors.len(), 1);
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(
        text.contains("\"status\":\"running\",\"pid\":4242"),
        "{text}"
    );
    assert!(text.contains("\"status\":\"stopped\",\"bundle\""), "{text}");
    // A large state that is not read ends neither the hook nor the caller.
    let mut s = s;
    s.annotations.insert("large".into(), "x".repeat(300_000));
    s.hooks.as_mut().unwrap().poststart = vec![hook("exec true")];
    hooks::run(Stage::Poststart, &s, &name, 1).unwrap();
    s.hooks.as_mut().unwrap().poststart = vec![hook("test $(wc -c) -gt 300000")];
    hooks::run(Stage::Poststart, &s, &name, 1).unwrap();
}

/// As vendors' hooks do: join by the pid, and mount on the root's path on the host.
fn join_the_mount_namespace(bed: &Bed) {
    let (mut s, dir, root) = bundle(bed, &["cat", "/etc/added"], Hooks::default());
    let file = bed.lab.dir.join("added");
    std::fs::write(&file, "by the hook\n").unwrap();
    std::fs::write(root.join("etc/added"), "").unwrap();
    let script = format!(
        "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); \
         nsenter -t $pid -m mount --bind {} {}/etc/added",
        file.display(),
        root.display()
    );
    s.hooks.as_mut().unwrap().create_runtime = vec![hook(&script)];
    assert_eq!(launch(bed, &s, &dir).unwrap(), (0, "by the hook\n".into()));
    assert_eq!(std::fs::read_to_string(root.join("etc/added")).unwrap(), "");
}
