//! Debian's docker-registry in a lab's network, and images of many layers to pull from it.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::lab::{Lab, wait_for};

/// A registry that ends with this.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    log: PathBuf,
}

impl Registry {
    /// Where [`Self::start`] puts it, in the lab's network.
    pub const ADDRESS: &str = "127.0.0.1:5000";

    /// Starts one at [`Self::ADDRESS`].
    pub fn start(lab: &Lab) -> Self {
        Self::start_at(lab, Self::ADDRESS)
    }

    /// Starts one at another address of the lab's network.
    pub fn start_at(lab: &Lab, address: &str) -> Self {
        let config = lab.path("registry.yml");
        let storage = lab.path("registry");
        let text = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: false}}, level: warn}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '{address}'}}\n",
            storage.display()
        );
        std::fs::write(&config, text).expect("registry.yml");
        let log = lab.path("registry.log");
        let file = std::fs::File::create(&log).expect("registry.log");
        let process = lab
            .entered("docker-registry")
            .args(["serve", &config.display().to_string()])
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("registry.log"))
            .stderr(file)
            .spawn()
            .expect("docker-registry");
        let answers = || {
            let url = format!("http://{address}/v2/");
            let probe = ["busybox", "wget", "-q", "-O", "-", &url];
            lab.inside(&probe).code == 0
        };
        assert!(
            wait_for(Duration::from_secs(20), answers),
            "docker-registry does not answer:\n{}",
            std::fs::read_to_string(&log).unwrap_or_default()
        );
        Self { process, log }
    }

    /// Puts documents and blobs of a repository where the registry keeps them, byte for byte; a tag
    /// for the last manifest.
    pub fn put(lab: &Lab, repository: &str, tag: &str, blobs: &[Vec<u8>], manifests: &[Vec<u8>]) {
        let root = lab.path("registry").join("docker/registry/v2");
        let write = |path: PathBuf, bytes: &[u8]| {
            let dir = path.parent().expect("a directory");
            std::fs::create_dir_all(dir).expect("directories of the registry");
            std::fs::write(path, bytes).expect("file of the registry");
        };
        let of = root.join("repositories").join(repository);
        let link = |place: PathBuf, digest: &str| write(place.join("link"), digest.as_bytes());
        for bytes in blobs.iter().chain(manifests) {
            let digest = sha256(bytes);
            let hex = digest.trim_start_matches("sha256:");
            write(
                root.join("blobs/sha256")
                    .join(&hex[..2])
                    .join(hex)
                    .join("data"),
                bytes,
            );
            link(of.join("_layers/sha256").join(hex), &digest);
        }
        for bytes in manifests {
            let digest = sha256(bytes);
            let hex = digest.trim_start_matches("sha256:");
            link(of.join("_manifests/revisions/sha256").join(hex), &digest);
        }
        let last = sha256(manifests.last().expect("a manifest"));
        let hex = last.trim_start_matches("sha256:");
        let tags = of.join("_manifests/tags").join(tag);
        link(tags.join("current"), &last);
        link(tags.join("index/sha256").join(hex), &last);
    }

    /// Whether this machine has the program.
    pub fn is_there() -> bool {
        PathBuf::from("/usr/bin/docker-registry").exists()
    }

    /// How many times blobs of a repository were sent whole so far.
    pub fn sent(&self, repository: &str) -> usize {
        let text = std::fs::read_to_string(&self.log).expect("registry.log");
        let get = format!("\"GET /v2/{repository}/blobs/");
        let lines = text.lines();
        lines
            .filter(|line| line.contains(&get) && line.contains("\" 200 "))
            .count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An archive of `docker save` with one image: `layers` layers of `size` bytes that do not repeat.
pub fn archive(name: &str, layers: u32, size: usize, seed: u64) -> Vec<u8> {
    let mut tars = Vec::new();
    let mut state = seed | 1;
    for layer in 0..layers {
        let mut noise = vec![0u8; size];
        for chunk in noise.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
        }
        let mut tar = tar::Builder::new(Vec::new());
        entry(&mut tar, &format!("layer-{layer}"), &noise);
        tars.push(tar.into_inner().expect("archive"));
    }
    let diff_ids: Vec<String> = tars.iter().map(|tar| sha256(tar)).collect();
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux", "config": {"Labels": {"seed": seed.to_string()}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string().into_bytes();
    let names: Vec<String> = (0..layers)
        .map(|layer| format!("{layer}/layer.tar"))
        .collect();
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": [name], "Layers": names}
    ]);
    let mut out = tar::Builder::new(Vec::new());
    entry(&mut out, "config.json", &config);
    for (name, tar) in names.iter().zip(&tars) {
        entry(&mut out, name, tar);
    }
    entry(&mut out, "manifest.json", manifest.to_string().as_bytes());
    out.into_inner().expect("archive")
}

fn entry(tar: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, name, bytes).expect("entry");
}

/// `sha256:…` of bytes.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
