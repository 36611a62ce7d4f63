//! Debian's cloud kernel, from the mirror that this machine's apt is configured for, unpacked and
//! never installed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::run;

/// The first stable release whose kernel has what Corten uses.
const SUITE: &str = "trixie";
const PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel that can be booted, and its modules.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Uncompressed, as PVH boot wants it.
    pub(crate) image: PathBuf,
    /// Name of a module, with `_` → its compressed file.
    modules: BTreeMap<String, PathBuf>,
}

impl Kernel {
    /// The one kept in `dir`; downloaded when there is none.
    pub(crate) fn get(dir: &Path) -> Result<Self> {
        let tree = dir.join("kernel");
        if !tree.join("boot").exists() {
            download(dir, &tree)?;
        }
        let image = dir.join("vmlinux");
        if !image.exists() {
            let compressed = find(&tree.join("boot"), "vmlinuz")?;
            std::fs::write(&image, uncompressed(&std::fs::read(compressed)?)?)?;
        }
        let mut modules = BTreeMap::new();
        collect(&tree.join("usr/lib/modules"), &mut modules)?;
        if modules.is_empty() {
            bail!("no modules below {}", tree.display());
        }
        Ok(Self { image, modules })
    }

    /// Modules with all that they need, those needed first: name and bytes.
    pub(crate) fn modules(&self, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut out = Vec::new();
        for name in wanted {
            self.add(name, &mut out)?;
        }
        Ok(out)
    }

    fn add(&self, name: &str, out: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
        if out.iter().any(|(have, _)| have == name) {
            return Ok(());
        }
        let file = self.modules.get(name);
        let file = file.with_context(|| format!("the kernel has no module {name}"))?;
        let bytes = run::output(&["xz", "-dc", &file.display().to_string()])?;
        for needed in needs(&bytes) {
            self.add(&needed, out)?;
        }
        out.push((name.to_owned(), bytes));
        Ok(())
    }
}

/// What a module says of what it needs (`depends=` among the strings of `.modinfo`).
fn needs(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|window| window == key) else {
        return Vec::new();
    };
    let text = module[at + key.len()..].split(|byte| *byte == 0).next();
    String::from_utf8_lossy(text.unwrap_or_default())
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

/// By apt with directories of its own, so that the machine's lists and sources stay as they are.
fn download(dir: &Path, tree: &Path) -> Result<()> {
    let apt = dir.join("apt");
    for sub in ["lists/partial", "archives/partial", "sources.d"] {
        std::fs::create_dir_all(apt.join(sub))?;
    }
    std::fs::write(apt.join("status"), "")?;
    std::fs::write(apt.join("sources.list"), run::debian_source(SUITE)?)?;
    let at = |option: &str, path: &str| format!("{option}={}", apt.join(path).display());
    let options = [
        at("Dir::State", ""),
        at("Dir::State::lists", "lists"),
        at("Dir::State::status", "status"),
        at("Dir::Etc::sourcelist", "sources.list"),
        at("Dir::Etc::sourceparts", "sources.d"),
        at("Dir::Cache", ""),
        "APT::Architecture=amd64".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ];
    let with = |program: &'static str, words: &[&str]| -> Vec<String> {
        let options = options.iter().flat_map(|o| ["-o".to_owned(), o.clone()]);
        let words = words.iter().map(|word| (*word).to_owned());
        [program.to_owned()]
            .into_iter()
            .chain(options)
            .chain(words)
            .collect()
    };
    let update = with("apt-get", &["update", "-q"]);
    run::run(&update.iter().map(String::as_str).collect::<Vec<_>>())?;
    let depends = with("apt-cache", &["depends", PACKAGE]);
    let text = run::output(&depends.iter().map(String::as_str).collect::<Vec<_>>())?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let package = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
        .with_context(|| format!("{PACKAGE} names no kernel: {text}"))?;
    let get = with("apt-get", &["download", &format!("linux-image-{package}")]);
    let status = run::command(&get.iter().map(String::as_str).collect::<Vec<_>>())
        .current_dir(&apt)
        .status()?;
    if !status.success() {
        bail!("apt-get download failed: {status}");
    }
    let package = find(&apt, "linux-image-")?.display().to_string();
    let unpacked = dir.join("unpacked").display().to_string();
    run::run(&["dpkg-deb", "-x", &package, &unpacked])?;
    std::fs::rename(unpacked, tree)?;
    std::fs::remove_dir_all(apt)?;
    Ok(())
}

fn find(dir: &Path, prefix: &str) -> Result<PathBuf> {
    std::fs::read_dir(dir)
        .with_context(|| dir.display().to_string())?
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .with_context(|| format!("no {prefix}… in {}", dir.display()))
}

fn collect(dir: &Path, out: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), out)?;
        } else if let Some(module) = name.strip_suffix(".ko.xz") {
            out.insert(module.replace('-', "_"), entry.path());
        }
    }
    Ok(())
}

/// The kernel inside of a bzImage (Documentation/arch/x86/boot.rst: `setup_sects` at 0x1f1,
/// `payload_offset` and `payload_length` at 0x248 and 0x24c), which Debian compresses by zstd.
fn uncompressed(image: &[u8]) -> Result<Vec<u8>> {
    let word = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("the kernel is cut off")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    if image.get(0x202..0x206).is_none_or(|magic| magic != b"HdrS") {
        bail!("this is no kernel");
    }
    let sectors = usize::from(*image.get(0x1f1).context("the kernel is cut off")?);
    let start = (sectors.max(1) + 1) * 512 + word(0x248)?;
    // The payload's last four bytes are the length that it unpacks to.
    let payload = image.get(start..start + word(0x24c)? - 4);
    let payload = payload.context("the kernel is cut off")?;
    if !payload.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        bail!("the kernel is not compressed by zstd");
    }
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), payload)?;
    run::output(&["zstd", "-dcq", &file.path().display().to_string()])
}

#[cfg(test)]
mod tests {
    use super::needs;

    #[test]
    fn what_a_module_needs() {
        assert_eq!(needs(b"\0license=GPL\0depends=a-b,c\0x"), ["a_b", "c"]);
        assert!(needs(b"\0depends=\0name=x\0").is_empty());
        assert!(needs(b"no strings").is_empty());
    }
}
