//! The registry that others use, as a process of its own; and just enough of HTTP to push to it.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::faulty::digest;

/// Ended when it is dropped.
pub(crate) struct Distribution {
    pub(crate) address: SocketAddr,
    process: Child,
}

impl Drop for Distribution {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Distribution {
    /// Starts one that keeps its files below `dir`.
    pub(crate) async fn start(dir: &Path) -> Self {
        let storage = dir.join("registry");
        let config = dir.join("registry.yml");
        // Freed before it starts: it cannot be given a socket.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{address}'}}\n\
             storage: {{filesystem: {{rootdirectory: '{}'}}}}\n",
            storage.display()
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let started = Self { address, process };
        for _ in 0..500 {
            if TcpStream::connect(address).await.is_ok() {
                return started;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("the registry does not listen");
    }

    /// Uploads a blob; answers its digest.
    pub(crate) async fn blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/");
        let (status, location) = self.send("POST", &path, "", &[]).await;
        assert_eq!(status, 202);
        let path = location
            .split_once(&self.address.to_string())
            .map_or(&*location, |it| it.1);
        let path = format!("{path}&digest={digest}");
        let (status, _) = self
            .send("PUT", &path, "application/octet-stream", bytes)
            .await;
        assert_eq!(status, 201);
        digest
    }

    /// Uploads a manifest under a tag; answers its digest.
    pub(crate) async fn manifest(&self, repository: &str, tag: &str, body: &Value) -> String {
        let bytes = serde_json::to_vec(body).unwrap();
        let kind = body["mediaType"].as_str().unwrap();
        let path = format!("/v2/{repository}/manifests/{tag}");
        assert_eq!(self.send("PUT", &path, kind, &bytes).await.0, 201);
        digest(&bytes)
    }

    /// Status and `Location` of an answer.
    async fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, String) {
        let mut stream = BufReader::new(TcpStream::connect(self.address).await.unwrap());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let (mut status, mut location) = (0, String::new());
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest.split(' ').next().unwrap().parse().unwrap();
            }
            if let Some(value) = line.strip_prefix("Location: ") {
                value.clone_into(&mut location);
            }
        }
        let _ = stream.read_to_end(&mut Vec::new()).await;
        (status, location)
    }
}
