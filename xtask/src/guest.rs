//! Tests in a machine of their own, where cgroup v2 is the only hierarchy: QEMU boots Debian's
//! kernel with the tests in its initial file system, and what its console tells is added up.
//!
//! Emulated unless told otherwise: no machine needs to be able to do more than run programs, and
//! nothing of the host is reached by what runs inside.

mod initramfs;
mod kernel;

use std::io::{BufRead as _, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::run;
use crate::test::Totals;
use initramfs::Initramfs;
use kernel::Kernel;

const USAGE: &str = "cargo xtask guest [--accel kvm] [--no-engine] [TEST PROGRAM…]";

const TOOLS: [(&str, &str); 7] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("objcopy", "binutils"),
    ("ip", "iproute2"),
    ("docker", "docker-cli"),
];

/// Crates whose tests have to do with cgroups.
const CRATES: [&str; 4] = ["cgroup", "runtime", "keeper", "compute-linux"];

/// End-to-end tests that have to do with cgroups.
const ENGINE: [&str; 5] = ["run_limits", "lifecycle", "run_security", "list", "crash"];

/// Test programs with a main function of their own, which take no options.
const PLAIN: [&str; 3] = ["container", "spec", "containers"];

const MODULES: [&str; 14] = [
    "virtio_blk",
    "overlay",
    "erofs",
    "veth",
    "bridge",
    "nf_tables",
    "nft_chain_nat",
    "nft_masq",
    "nft_ct",
    "nft_fib_ipv4",
    "nft_nat",
    "nf_conntrack_netlink",
    "dummy",
    "loop",
];

const APPEND: &str = "console=ttyS0 reboot=t panic=-1 rdinit=/init quiet loglevel=1 nokaslr \
    mitigations=off no_timer_check tsc=reliable 8250.nr_uarts=1 cryptomgr.notests audit=0";

/// How long the guest may say nothing; emulated, the slowest test takes a fraction of it.
const STALL: Duration = Duration::from_secs(600);

/// One program with tests.
#[derive(Debug)]
struct Program {
    name: String,
    path: PathBuf,
    test: bool,
}

#[derive(Debug)]
struct Options {
    accel: String,
    engine: bool,
    only: Vec<String>,
}

/// `cargo xtask guest`.
pub(crate) fn guest(args: &[String]) -> Result<()> {
    let options = parse(args)?;
    run::need(&TOOLS)?;
    let dir = run::target().join("guest");
    std::fs::create_dir_all(&dir)?;
    let kernel = Kernel::get(&dir)?;
    let mut programs = built(&["test", "--no-run"], &CRATES, &[])?;
    if options.engine {
        programs.extend(built(&["build"], &["corten"], &[])?);
        programs.extend(built(&["test", "--no-run"], &["e2e"], &ENGINE)?);
    }
    let wanted = |p: &Program| options.only.is_empty() || options.only.contains(&p.name);
    let tests: Vec<&Program> = programs.iter().filter(|p| p.test && wanted(p)).collect();
    if tests.is_empty() {
        bail!("no such test program; {USAGE}");
    }
    let initramfs = dir.join("initramfs");
    pack(&initramfs, &kernel, &programs, &tests)?;
    let disk = dir.join("disk");
    std::fs::File::create(&disk)?.set_len(64 << 20)?;
    let words = machine(&options.accel, &kernel, &initramfs, &disk);
    let told = boot(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    std::fs::remove_file(&disk)?;
    std::fs::remove_file(&initramfs)?;
    told.judge(tests.len())
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options {
        // One thread for both processors: with two, a kernel that patches itself can be caught at it.
        accel: "tcg,thread=single".into(),
        engine: true,
        only: Vec::new(),
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--accel" => options.accel = args.next().context(USAGE)?.clone(),
            "--no-engine" => options.engine = false,
            name if !name.starts_with('-') => options.only.push(name.to_owned()),
            _ => bail!("unknown argument {arg}\n{USAGE}"),
        }
    }
    Ok(options)
}

/// Builds, and names what came of it.
fn built(words: &[&str], packages: &[&str], tests: &[&str]) -> Result<Vec<Program>> {
    let mut command = vec!["cargo"];
    command.extend(words);
    command.extend(["--locked", "--message-format", "json-render-diagnostics"]);
    packages
        .iter()
        .for_each(|name| command.extend(["-p", name]));
    tests
        .iter()
        .for_each(|name| command.extend(["--test", name]));
    println!("+ {}", command.join(" "));
    let output = run::output(&command)?;
    let mut programs = Vec::new();
    for line in output
        .split(|byte| *byte == b'\n')
        .filter(|l| !l.is_empty())
    {
        let line: serde_json::Value = serde_json::from_slice(line)?;
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let Some(path) = text(&line["executable"]) else {
            continue;
        };
        let kind = &line["target"]["kind"][0];
        if kind == "example" {
            continue;
        }
        programs.push(Program {
            name: text(&line["target"]["name"]).context("a target without a name")?,
            path: path.into(),
            test: line["profile"]["test"] == true,
        });
    }
    Ok(programs)
}

/// Writes the guest's initial file system.
fn pack(to: &Path, kernel: &Kernel, programs: &[Program], tests: &[&Program]) -> Result<()> {
    let mut out = Initramfs::new(BufWriter::new(std::fs::File::create(to)?));
    for dir in ["proc", "sys", "dev", "run", "tmp", "root", "var"] {
        out.directory(&Path::new("/").join(dir))?;
    }
    out.file(Path::new("/init"), include_bytes!("guest/init.sh"), 0o755)?;
    out.file(
        Path::new("/etc/passwd"),
        b"root:x:0:0:root:/root:/bin/sh\n",
        0o644,
    )?;
    out.file(Path::new("/etc/group"), b"root:x:0:\n", 0o644)?;
    out.file(Path::new("/etc/hosts"), b"127.0.0.1 localhost\n", 0o644)?;
    for name in ["unshare", "nsenter", "ip", "docker"] {
        out.program(&run::which(name)?, &Path::new("/usr/bin").join(name))?;
    }
    let busybox = run::which("busybox")?;
    out.program(&busybox, Path::new("/bin/busybox"))?;
    let applets = run::output(&[&busybox.display().to_string(), "--list"])?;
    for applet in String::from_utf8_lossy(&applets).split_whitespace() {
        if !["unshare", "nsenter", "ip", "busybox"].contains(&applet) {
            out.link(&Path::new("/bin").join(applet), "/bin/busybox")?;
        }
    }
    let mut order = String::new();
    for (name, bytes) in kernel.modules(&MODULES)? {
        out.file(&Path::new("/modules").join(&name), &bytes, 0o644)?;
        order.push_str(&format!("{name}\n"));
    }
    out.file(Path::new("/modules/order"), order.as_bytes(), 0o644)?;
    let mut list = String::new();
    for program in programs.iter().filter(|program| !program.test) {
        // Tests know the path of what they were built with.
        out.program(&program.path, &program.path)?;
    }
    for program in tests {
        out.program(&program.path, &program.path)?;
        let arguments = match PLAIN.contains(&program.name.as_str()) {
            true => "",
            false => "--include-ignored --show-output --test-threads=2",
        };
        let path = program.path.display();
        list.push_str(&format!("{} {path} {arguments}\n", program.name));
    }
    out.file(Path::new("/tests"), list.as_bytes(), 0o644)?;
    out.finish()
}

fn machine(accel: &str, kernel: &Kernel, initramfs: &Path, disk: &Path) -> Vec<String> {
    let mut words: Vec<String> = [
        "qemu-system-x86_64 -accel",
        accel,
        "-cpu max -M q35 -m 3072 -smp 2 -nodefaults -no-user-config -display none",
        "-serial stdio -no-reboot -device virtio-blk-pci,drive=disk",
    ]
    .iter()
    .flat_map(|part| part.split(' '))
    .map(str::to_owned)
    .collect();
    let disk = disk.display();
    words.extend([
        "-drive".into(),
        format!("if=none,id=disk,file={disk},format=raw"),
    ]);
    words.extend(["-kernel".into(), kernel.image.display().to_string()]);
    words.extend(["-initrd".into(), initramfs.display().to_string()]);
    words.extend(["-append".into(), APPEND.into()]);
    words
}

/// What the console said.
#[derive(Debug, Default)]
struct Told {
    /// A row for each program: its name, exit status, totals.
    rows: Vec<(String, i32, Totals)>,
    left: Vec<String>,
    done: bool,
}

impl Told {
    fn line(&mut self, line: &str) {
        let mut words = line.split(' ');
        if words.next() != Some("@@") {
            if let Some((_, _, totals)) = self.rows.last_mut() {
                totals.count(line);
                // Programs with a main function of their own have no closing line.
                let plain = line.starts_with("test ") && line.contains(" ... ok");
                totals.plain += u64::from(plain);
                totals.ignored += u64::from(line.starts_with("skipped: "));
            }
            return;
        }
        match (words.next(), words.next(), words.next()) {
            (Some("begin"), Some(name), _) => {
                self.rows.push((name.to_owned(), -1, Totals::default()));
            }
            (Some("end"), Some(_), Some(status)) => {
                if let Some(row) = self.rows.last_mut() {
                    row.1 = status.parse().unwrap_or(-1);
                }
            }
            (Some("left" | "module"), ..) => self.left.push(line.to_owned()),
            (Some("done"), ..) => self.done = true,
            _ => {}
        }
    }

    fn judge(mut self, programs: usize) -> Result<()> {
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        println!(
            "\n{:24} {:>7} {:>7} {:>7}",
            "program", "passed", "failed", "skipped"
        );
        for (name, status, totals) in &mut self.rows {
            if totals.passed == 0 && PLAIN.contains(&name.as_str()) {
                totals.passed = totals.plain;
            }
            if *status != 0 && totals.failed == 0 {
                totals.failed = 1;
            }
            let (p, f, s) = (totals.passed, totals.failed, totals.ignored);
            println!("{name:24} {p:>7} {f:>7} {s:>7}");
            passed += p;
            failed += f;
            skipped += s;
        }
        self.left.iter().for_each(|line| println!("{line}"));
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if !self.done || self.rows.len() != programs {
            bail!("the guest ended early");
        }
        if failed > 0 || !self.left.is_empty() {
            bail!("tests failed in the guest");
        }
        Ok(())
    }
}

/// Runs the machine to its end, its console shown.
fn boot(words: &[&str]) -> Result<Told> {
    println!("+ {}", words.join(" "));
    let mut child = run::command(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", words[0]))?;
    let output = child.stdout.take().context("no output")?;
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut told = Told::default();
    let ended = loop {
        match lines.recv_timeout(STALL) {
            Ok(line) => {
                println!("{line}");
                told.line(&line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break Ok(()),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                child.kill()?;
                break Err(anyhow::anyhow!("the guest said nothing for {STALL:?}"));
            }
        }
    };
    let _ = reader.join();
    let status = child.wait()?;
    ended?;
    if !status.success() {
        bail!("{} failed: {status}", words[0]);
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::Told;

    #[test]
    fn a_console_is_added_up() {
        let mut told = Told::default();
        for line in [
            "@@ up 6.12",
            "@@ begin one",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured",
            "@@ end one 0",
            "@@ begin spec",
            "test b ... ok",
            "test c ... ok",
            "@@ end spec 101",
            "@@ done",
        ] {
            told.line(line);
        }
        assert!(told.done && told.left.is_empty());
        assert_eq!((told.rows[0].1, told.rows[0].2.passed), (0, 3));
        assert_eq!((told.rows[1].1, told.rows[1].2.plain), (101, 2));
        // One program that ended badly is a failure, whatever it counted.
        assert!(told.judge(2).is_err());
    }
}
