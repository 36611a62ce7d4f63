//! Archives made to do harm, at every way in: `load`, `import`, layers of a pull, `cp`. The right
//! error or the right result, nothing outside, nothing left, and the engine's memory stays bounded.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use e2e::registry::{Registry, archive};
use e2e::{Lab, Options, Ran, root, wait_for};

/// MiB that the engine may take at its peak, whatever comes.
const MOST_MEMORY: u64 = 700;

/// Peak of the engine's resident memory since the last call, in MiB.
fn peak(lab: &Lab) -> u64 {
    let proc = format!("/proc/{}", lab.daemon_pid());
    let status = std::fs::read_to_string(format!("{proc}/status")).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    std::fs::write(format!("{proc}/clear_refs"), "5").expect("clear_refs");
    kib.expect("VmHWM") >> 10
}

/// A command that is given bytes as they are made.
fn feed(
    lab: &Lab,
    words: &[&str],
    make: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Ran {
    let mut child: Child = lab.spawn(words);
    let mut input = child.stdin.take().expect("piped");
    let mut output = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = output.read_to_end(&mut text);
        text
    });
    // The other end may have had enough.
    let _ = make(&mut input);
    drop(input);
    let mut ran = Ran::from(child.wait_with_output().expect("docker"));
    ran.out = String::from_utf8_lossy(&reader.join().expect("reader")).into_owned();
    ran
}

fn header(kind: u8, name: &[u8], link: &[u8], size: u64) -> [u8; 512] {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_cksum();
    *header.as_bytes()
}

/// An entry with its content.
fn entry(kind: u8, name: &[u8], link: &[u8], content: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, name, link, content.len() as u64).to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A whole archive of these.
fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.extend([0; 1024]);
    bytes
}

/// An archive of `docker save` with one layer.
fn image_of(layer: &[u8]) -> Vec<u8> {
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [e2e::registry::sha256(layer)]},
    });
    let config = config.to_string();
    let manifest = r#"[{"Config":"c.json","RepoTags":["hostile:1"],"Layers":["l.tar"]}]"#;
    tar(&[
        entry(b'0', b"c.json", b"", config.as_bytes()),
        entry(b'0', b"l.tar", b"", layer),
        entry(b'0', b"manifest.json", b"", manifest.as_bytes()),
    ])
}

/// Everything beside the store that an archive could have reached.
fn nothing_outside(lab: &Lab) {
    for path in ["/tmp/corten-hostile", "/corten-hostile"] {
        assert!(!Path::new(path).exists(), "{path}");
    }
    assert!(!lab.path("corten-hostile").exists());
    assert!(!lab.data_root().join("corten-hostile").exists());
}

/// No half-made layer, no spool.
fn nothing_half(lab: &Lab) {
    let half = || {
        let dirs = ["layers", "content", "trash"].map(|dir| lab.data_root().join(dir));
        let names = dirs
            .iter()
            .flat_map(|dir| std::fs::read_dir(dir).expect("directory"));
        let names = names.flatten().map(|entry| entry.file_name());
        let names: Vec<_> = names
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.into_iter().any(|name| {
            name.starts_with("tmp-") || name.starts_with("below-") || name.parse::<u64>().is_ok()
        })
    };
    assert!(
        wait_for(Duration::from_secs(60), || !half()),
        "half-made things stay"
    );
}

#[test]
fn names_links_and_types() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&["create", "--name", "target", "bb", "true"]);
    let refused: Vec<(&str, Vec<u8>)> = vec![
        ("up", entry(b'0', b"../corten-hostile", b"", b"x")),
        (
            "up in the middle",
            entry(b'0', b"a/../../../../corten-hostile", b"", b"x"),
        ),
        (
            "a hard link out",
            entry(b'1', b"l", b"../../../etc/passwd", b""),
        ),
        (
            "a hard link to later",
            [
                entry(b'1', b"l", b"later", b""),
                entry(b'0', b"later", b"", b"x"),
            ]
            .concat(),
        ),
        ("cut off", header(b'0', b"f", b"", 1 << 20).to_vec()),
        (
            "a size beyond all",
            header(b'0', b"f", b"", 1 << 62).to_vec(),
        ),
        ("a type that is none", entry(b'V', b"f", b"", b"")),
        (
            "a loop of links",
            [
                entry(b'2', b"a", b"b", b""),
                entry(b'2', b"b", b"a", b""),
                entry(b'0', b"a/f", b"", b"x"),
            ]
            .concat(),
        ),
        ("no tar", vec![b'x'; 4096]),
    ];
    for (what, bytes) in &refused {
        let bytes = tar(std::slice::from_ref(bytes));
        let ran = feed(&lab, &["import", "-", "hostile:1"], |out| {
            out.write_all(&bytes)
        });
        assert_ne!(ran.code, 0, "import of {what}");
        let ran = feed(&lab, &["load"], |out| out.write_all(&image_of(&bytes)));
        assert_ne!(ran.code, 0, "load of {what}");
        let ran = feed(&lab, &["load"], |out| out.write_all(&bytes));
        assert_ne!(ran.code, 0, "load of {what} itself");
        let ran = feed(&lab, &["cp", "-", "target:/tmp"], |out| {
            out.write_all(&bytes)
        });
        assert_ne!(ran.code, 0, "cp of {what}");
    }
    nothing_outside(&lab);
    nothing_half(&lab);
    assert!(
        lab.fails(1, &["image", "inspect", "hostile:1"])
            .contains("No such image")
    );

    // Odd, but with a meaning.
    let up = b"/../../../../../../../../tmp";
    let odd = tar(&[
        entry(b'0', b"/absolute", b"", b"1"),
        entry(b'2', b"up", up, b""),
        entry(b'5', b"tmp", b"", b""),
        entry(b'0', b"up/corten-hostile", b"", b"2"),
        entry(b'0', b"twice", b"", b"3"),
        entry(b'0', b"twice", b"", b"4"),
        entry(b'0', b"not-\xff\xfe-text", b"", b"5"),
        entry(b'3', b"null", b"", b""),
    ]);
    let ran = feed(&lab, &["import", "-", "odd:1"], |out| out.write_all(&odd));
    assert_eq!(ran.code, 0, "{ran:?}");
    nothing_outside(&lab);
    lab.ok(&["create", "--name", "odd", "odd:1", "x"]);
    let text = |path: &str| {
        let out = lab.path("out").display().to_string();
        lab.ok(&["cp", &format!("odd:{path}"), &out]);
        let text = std::fs::read_to_string(&out).expect("copied");
        std::fs::remove_file(&out).expect("copied");
        text
    };
    assert_eq!(text("/absolute"), "1");
    assert_eq!(text("/tmp/corten-hostile"), "2");
    assert_eq!(text("/twice"), "4");
    // Both sizes: PAX's counts, and what would be an entry by the other is content.
    let hidden = entry(b'0', b"hidden", b"", b"");
    let records = entry(b'x', b"pax", b"", b"12 size=512\n");
    let sizes = tar(&[
        records,
        [header(b'0', b"carrier", b"", 0).to_vec(), hidden].concat(),
        entry(b'0', b"after", b"", b"6"),
    ]);
    let ran = feed(&lab, &["cp", "-", "target:/tmp"], |out| {
        out.write_all(&sizes)
    });
    assert_eq!(ran.code, 0, "{ran:?}");
    let listed = lab.ok(&["diff", "target"]);
    assert!(
        listed.contains("/tmp/after") && !listed.contains("hidden"),
        "{listed}"
    );
}

#[test]
fn headers_entries_and_depth_beyond_measure() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&["create", "--name", "target", "bb", "true"]);
    let ways: [&[&str]; 3] = [&["import", "-"], &["load"], &["cp", "-", "target:/tmp"]];
    peak(&lab);
    for kind in [b'x', b'L', b'K'] {
        for way in ways {
            let ran = feed(&lab, way, |out| {
                out.write_all(&header(kind, b"long", b"", 1 << 33))?;
                let piece = vec![b'x'; 1 << 20];
                (0..1024).try_for_each(|_| out.write_all(&piece))
            });
            assert_ne!(ran.code, 0, "{way:?}");
            // A client that is still sending may see nothing but the end of its connection.
            let told = ["headers of an entry", "broken pipe", "connection"];
            assert!(
                told.iter().any(|text| ran.err.contains(text)),
                "{way:?}: {}",
                ran.err
            );
        }
    }
    let headers = peak(&lab);
    assert!(headers < 300, "{headers} MiB for long headers");

    // A million files, as a layer.
    let ran = feed(&lab, &["import", "-", "million:1"], |out| {
        let mut out = std::io::BufWriter::with_capacity(1 << 20, out);
        for n in 0..1_000_000u32 {
            let name = format!("{}/{}/{n}", n % 1000, n % 7);
            out.write_all(&header(b'0', name.as_bytes(), b"", 0))?;
        }
        out.write_all(&[0; 1024])?;
        out.flush()
    });
    assert_eq!(ran.code, 0, "{ran:?}");
    let million = peak(&lab);
    assert!(million < MOST_MEMORY, "{million} MiB for a million files");
    lab.ok(&["create", "--name", "million", "million:1", "x"]);
    let out = lab.path("out").display().to_string();
    lab.ok(&["cp", "million:/999/6/27999", &out]);
    lab.ok(&["rm", "million"]);
    lab.ok(&["rmi", "million:1"]);

    // As deep as names go, and deeper by way of links.
    let deep = |out: &mut dyn Write| {
        let way = "d/".repeat(45);
        out.write_all(&entry(b'5', way.as_bytes(), b"", b""))?;
        let mut below = way.clone();
        for step in 0..35 {
            let link = format!("l{step}");
            out.write_all(&entry(b'2', link.as_bytes(), below.as_bytes(), b""))?;
            below = format!("{link}/{way}");
            if below.len() >= 100 {
                below.truncate(98);
            }
            out.write_all(&entry(b'5', below.as_bytes(), b"", b""))?;
        }
        out.write_all(&[0; 1024])
    };
    for way in ways {
        // Right or refused; the engine lives.
        feed(&lab, way, deep);
    }
    lab.ok(&["version"]);
    nothing_half(&lab);
}

/// gzip of so many MiB of zeros.
fn zeros(mebibytes: usize) -> Vec<u8> {
    let mut gzip = std::process::Command::new("gzip")
        .arg("-1c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip");
    let mut input = gzip.stdin.take().expect("piped");
    let size = (mebibytes as u64) << 20;
    let writer = std::thread::spawn(move || {
        input.write_all(&header(b'0', b"bomb", b"", size))?;
        let piece = vec![0; 1 << 20];
        (0..mebibytes).try_for_each(|_| input.write_all(&piece))?;
        input.write_all(&[0; 1024])
    });
    let out = gzip.wait_with_output().expect("gzip");
    writer.join().expect("writer").expect("input");
    out.stdout
}

#[test]
fn bombs() {
    if !root() {
        return;
    }
    let mut lab = Lab::with(Options {
        disk: Some(96),
        ..Options::default()
    });
    lab.ok(&["create", "--name", "target", "bb", "true"]);
    let bomb = zeros(400);
    // A sparse file of four exabytes.
    let mut sparse = header(b'S', b"sparse", b"", 512).to_vec();
    {
        let number = |at: &mut [u8], value: u64| {
            at.fill(0);
            at[0] = 0x80;
            at[4..12].copy_from_slice(&value.to_be_bytes());
        };
        number(&mut sparse[386..398], 1 << 61);
        number(&mut sparse[398..410], 512);
        number(&mut sparse[483..495], (1 << 61) + 512);
        sparse[148..156].fill(b' ');
        let sum: u32 = sparse.iter().map(|byte| u32::from(*byte)).sum();
        sparse[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        sparse.extend([b'x'; 512]);
        sparse.extend([0; 1024]);
    }
    for bytes in [&bomb, &sparse] {
        for way in [
            &["import", "-", "bomb:1"][..],
            &["load"],
            &["cp", "-", "target:/tmp"],
        ] {
            let ran = feed(&lab, way, |out| out.write_all(bytes));
            assert_ne!(ran.code, 0, "{way:?}");
            let text = ran.err.to_lowercase();
            assert!(text.contains("no space left"), "{way:?}: {}", ran.err);
            lab.ok(&["rm", "-f", "target"]);
            let made = || {
                lab.docker(&["create", "--name", "target", "bb", "true"])
                    .code
                    == 0
            };
            assert!(wait_for(Duration::from_secs(20), made), "no room again");
        }
    }
    // By a setting, long before the disk is full.
    lab.stop_daemon();
    lab.set_flags(&["--image-max-size", "30m"]);
    lab.start_daemon();
    for way in [&["import", "-", "bomb:1"][..], &["load"]] {
        let ran = feed(&lab, way, |out| out.write_all(&bomb));
        assert_ne!(ran.code, 0, "{way:?}");
        assert!(ran.err.contains("image-max-size"), "{way:?}: {}", ran.err);
    }
    assert!(peak(&lab) < 300);
}

#[test]
fn layers_of_a_pull() {
    if !root() || !Registry::is_there() {
        return;
    }
    let lab = Lab::new();
    let registry = Registry::start(&lab);
    let name = "127.0.0.1:5000/hostile:1";
    let tar = lab.path("image.tar");
    std::fs::write(&tar, archive(name, 2, 100_000, 7)).expect("archive");
    lab.ok(&["load", "-q", "-i", &tar.display().to_string()]);
    lab.ok(&["push", "-q", name]);
    lab.ok(&["rmi", name]);
    // The registry's file is changed under it: what comes is not what was promised.
    let blobs = lab.path("registry/docker/registry/v2/blobs/sha256");
    let mut largest = Vec::new();
    for two in std::fs::read_dir(blobs).expect("blobs").flatten() {
        for blob in std::fs::read_dir(two.path()).expect("blobs").flatten() {
            let data = blob.path().join("data");
            largest.push((std::fs::metadata(&data).expect("blob").len(), data));
        }
    }
    largest.sort();
    let (_, data) = largest.pop().expect("a layer");
    let sound = std::fs::read(&data).expect("blob");
    let mut broken = sound.clone();
    let middle = broken.len() / 2;
    broken[middle] ^= 0x55;
    std::fs::write(&data, broken).expect("blob");
    let error = lab.fails(1, &["pull", "-q", name]);
    assert!(!error.is_empty());
    assert!(
        lab.fails(1, &["image", "inspect", name])
            .contains("No such image")
    );
    std::fs::write(&data, sound).expect("blob");
    lab.ok(&["pull", "-q", name]);
    assert_eq!(lab.corten(&["image", "scrub"]).code, 0);
    assert!(registry.sent("hostile") >= 2);
}
