//! What Corten's image store has beside Docker's: undo of removals, scrubbing with repair by pull,
//! collection by watermarks; and compressions of archives.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::io::Write as _;

use e2e::registry::{Registry, archive};
use e2e::{Lab, Options, root};

const NAME: &str = "127.0.0.1:5000/store:1";

#[test]
fn a_removed_image_comes_back_and_the_disk_decides_what_goes() {
    if !root() {
        return;
    }
    let lab = Lab::with(Options {
        flags: ["--image-keep", "1h"].map(str::to_owned).to_vec(),
        ..Options::default()
    });
    let id = lab.inspect_image("bb", "{{.Id}}");
    lab.ok(&["rmi", "bb"]);
    assert!(
        lab.fails(1, &["image", "inspect", "bb"])
            .contains("No such image")
    );
    let removed = lab.corten(&["image", "removed"]);
    assert!(removed.out.contains("bb:latest"), "{removed:?}");
    let restored = lab.corten(&["image", "restore", "bb"]);
    assert_eq!(
        (restored.code, restored.out.as_str()),
        (0, "bb:latest\n"),
        "{restored:?}"
    );
    assert_eq!(lab.inspect_image("bb", "{{.Id}}"), id);
    assert_eq!(lab.ok(&["run", "--rm", "bb", "echo", "back"]), "back");
    assert_eq!(lab.corten(&["image", "restore", "bb"]).code, 1);

    // A dry run changes nothing; what a container has stays whatever the marks say.
    let none = lab.corten(&["image", "collect", "--dry-run"]);
    assert!(
        none.code != 0 && none.err.contains("image-gc-high"),
        "{none:?}"
    );
    let marks = ["image", "collect", "--high", "0", "--low", "0"];
    let dry = lab.corten(&[&marks[..], &["--dry-run"]].concat());
    assert!(dry.out.contains("bb:latest"), "{dry:?}");
    assert_eq!(lab.inspect_image("bb", "{{.Id}}"), id);
    lab.ok(&["create", "--name", "user", "bb", "true"]);
    let kept = lab.corten(&marks);
    assert!(
        kept.code == 0 && !kept.out.contains("bb:latest"),
        "{kept:?}"
    );
    assert_eq!(lab.inspect_image("bb", "{{.Id}}"), id);
    lab.ok(&["rm", "user"]);
    assert!(lab.corten(&marks).out.contains("bb:latest"));
    // For the room of it: not to be had back.
    assert_eq!(lab.corten(&["image", "restore", "bb"]).code, 1);
}

#[test]
fn damage_is_found_told_and_mended_by_a_pull_of_that_layer_alone() {
    if !root() || !Registry::is_there() {
        return;
    }
    let mut lab = Lab::new();
    let registry = Registry::start(&lab);
    let tar = lab.path("image.tar");
    std::fs::write(&tar, archive(NAME, 4, 300_000, 5)).expect("archive");
    lab.ok(&["load", "-q", "-i", &tar.display().to_string()]);
    lab.ok(&["push", "-q", NAME]);
    lab.ok(&["rmi", NAME]);
    lab.ok(&["pull", "-q", NAME]);
    assert_eq!(lab.corten(&["image", "scrub"]).code, 0);
    // One bit of one layer.
    let layers = std::fs::read_dir(lab.data_root().join("layers")).expect("layers");
    let tars = layers.flatten().map(|layer| layer.path().join("tar"));
    let damaged = tars.into_iter().find(|tar| {
        std::fs::metadata(tar).is_ok_and(|facts| (300_000..400_000).contains(&facts.len()))
    });
    let Some(damaged) = damaged else {
        // Layers are unpacked on this kernel: nothing tells of their bytes.
        return;
    };
    let mut bytes = std::fs::read(&damaged).expect("tar");
    bytes[100_000] ^= 1;
    std::fs::write(&damaged, bytes).expect("tar");
    let found = lab.corten(&["image", "scrub"]);
    assert!(
        found.code == 1 && found.out.contains("its bytes have digest"),
        "{found:?}"
    );
    // Also after a restart, it is told instead of run.
    for _ in 0..2 {
        lab.ok(&["create", "--name", "one", NAME, "x"]);
        let error = lab.fails(1, &["start", "one"]);
        assert!(
            error.contains("is damaged on disk: pull the image again"),
            "{error}"
        );
        lab.ok(&["rm", "one"]);
        lab.kill_daemon();
        lab.start_daemon();
    }
    let sent = registry.sent("store");
    lab.ok(&["pull", "-q", NAME]);
    let again = registry.sent("store") - sent;
    assert!(
        (1..=2).contains(&again),
        "{again} blobs: the layer, and the configuration at most"
    );
    assert_eq!(lab.corten(&["image", "scrub"]).code, 0);
}

#[test]
fn archives_of_every_compression_are_loaded() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let tar = archive("pressed:1", 2, 50_000, 9);
    for program in ["gzip", "zstd", "bzip2", "xz"] {
        let path = lab.path(&format!("image.{program}"));
        let mut child = std::process::Command::new(program)
            .arg("-c")
            .stdin(std::process::Stdio::piped())
            .stdout(std::fs::File::create(&path).expect("file"))
            .spawn()
            .expect(program);
        let mut input = child.stdin.take().expect("piped");
        input.write_all(&tar).expect("input");
        drop(input);
        assert!(child.wait().expect(program).success());
        let loaded = lab.ok(&["load", "-q", "-i", &path.display().to_string()]);
        assert_eq!(loaded, "Loaded image: pressed:1", "{program}");
        lab.ok(&["rmi", "pressed:1"]);
    }
}

#[test]
fn what_is_being_saved_can_be_removed_meanwhile() {
    use std::io::Read as _;
    if !root() {
        return;
    }
    let lab = Lab::new();
    let tar = lab.path("image.tar");
    // More than all that waits between the store and who reads.
    std::fs::write(&tar, archive(NAME, 4, 12_000_000, 9)).expect("archive");
    let layers = || {
        let layers = std::fs::read_dir(lab.data_root().join("layers")).expect("layers");
        let names = layers.flatten().map(|layer| layer.file_name());
        names.filter(|name| name.len() == 64).count()
    };
    let before = layers();
    lab.ok(&["load", "-q", "-i", &tar.display().to_string()]);
    let id = lab.inspect(NAME, "{{.Id}}");
    let mut saving = lab.spawn(&["save", NAME]);
    let mut stream = saving.stdout.take().expect("standard output");
    let mut bytes = vec![0; 512];
    stream.read_exact(&mut bytes).expect("its beginning");
    lab.ok(&["rmi", NAME]);
    assert_eq!(lab.docker(&["image", "inspect", &id]).code, 1);
    stream.read_to_end(&mut bytes).expect("the rest");
    assert!(saving.wait().expect("docker save").success());
    // Its layers went when the last of them was out.
    assert!(e2e::wait_for(
        std::time::Duration::from_secs(20),
        || layers() == before
    ));
    std::fs::write(&tar, &bytes).expect("archive");
    lab.ok(&["load", "-q", "-i", &tar.display().to_string()]);
    assert_eq!(lab.inspect(NAME, "{{.Id}}"), id);
    assert_eq!(lab.corten(&["image", "scrub"]).code, 0);
}
