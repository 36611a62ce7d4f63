//! The API over TCP: refused in the clear, mutual TLS with the stock client.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use e2e::{Lab, Options, root};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// A CA, and certificates `server` and `client` of it, as PEM files in `dir`.
fn authority(dir: &Path) {
    std::fs::create_dir_all(dir).expect("directory");
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("file");
    let key = KeyPair::generate().expect("key");
    let mut params = CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let name = dir
        .file_name()
        .expect("name")
        .to_string_lossy()
        .into_owned();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    write("ca.pem", &params.self_signed(&key).expect("CA").pem());
    let issuer = Issuer::new(params, key);
    for (name, usage) in [
        ("server", ExtendedKeyUsagePurpose::ServerAuth),
        ("client", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let key = KeyPair::generate().expect("key");
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("params");
        params.extended_key_usages = vec![usage];
        let cert = params.signed_by(&key, &issuer).expect("certificate");
        write(&format!("{name}.pem"), &cert.pem());
        write(&format!("{name}.key"), &key.serialize_pem());
    }
}

/// The docker client over TLS with files of two authorities: whom it trusts, and who it is.
fn docker(lab: &Lab, trusted: &Path, own: Option<&Path>, args: &[&str]) -> Output {
    let mut command = lab.entered("docker");
    command.args(["-H", "tcp://127.0.0.1:2376", "--tlsverify", "--tlscacert"]);
    command.arg(trusted.join("ca.pem"));
    if let Some(own) = own {
        command.arg("--tlscert").arg(own.join("client.pem"));
        command.arg("--tlskey").arg(own.join("client.key"));
    }
    let config = lab.path("docker-config");
    command
        .args(args)
        .env("DOCKER_CONFIG", config)
        .stdin(Stdio::null());
    command.output().expect("docker")
}

#[test]
fn mutual_tls() {
    if !root() {
        return;
    }
    let dir = tempfile::tempdir().expect("directory");
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    authority(&ours);
    authority(&theirs);
    let file = |name: &str| ours.join(name).display().to_string();
    let flags = [
        "-H",
        "tcp://127.0.0.1:2376",
        "--tlsverify",
        "--tlscacert",
        &file("ca.pem"),
        "--tlscert",
        &file("server.pem"),
        "--tlskey",
        &file("server.key"),
    ];
    let lab = Lab::with(Options {
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        ..Options::default()
    });
    let out = docker(
        &lab,
        &ours,
        Some(&ours),
        &["run", "--rm", "bb", "echo", "over", "tls"],
    );
    assert!(out.status.success(), "{out:?}");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "over tls\n");
    // Hijacked, with input and its end.
    let mut command = lab.entered("docker");
    command.args(["-H", "tcp://127.0.0.1:2376", "--tlsverify"]);
    command.args([
        "--tlscacert",
        &file("ca.pem"),
        "--tlscert",
        &file("client.pem"),
    ]);
    command.args([
        "--tlskey",
        &file("client.key"),
        "run",
        "--rm",
        "-i",
        "bb",
        "wc",
        "-c",
    ]);
    let input = lab.path("input");
    std::fs::write(&input, vec![b'x'; 300_000]).expect("file");
    command.stdin(std::fs::File::open(input).expect("file"));
    let out = command.output().expect("docker");
    assert_eq!(
        String::from_utf8_lossy(&out.stdout).trim(),
        "300000",
        "{out:?}"
    );

    let refused = |trusted: &Path, own: Option<&Path>| {
        let out = docker(&lab, trusted, own, &["version"]);
        assert!(!out.status.success(), "{out:?}");
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let text = refused(&ours, Some(&theirs));
    assert!(
        text.contains("tls: "),
        "a certificate of somebody else: {text}"
    );
    let text = refused(&ours, None);
    assert!(
        text.contains("tls: ") || text.contains("certificate"),
        "no certificate: {text}"
    );
    let text = refused(&theirs, Some(&ours));
    assert!(
        text.contains("certificate signed by unknown authority"),
        "not our server: {text}"
    );
    let mut plain = lab.entered("docker");
    plain.args(["-H", "tcp://127.0.0.1:2376", "version"]);
    assert!(!plain.output().expect("docker").status.success());
    // The unix socket is not concerned, and the engine is well.
    lab.ok(&["run", "--rm", "bb", "true"]);
}

#[test]
fn plain_tcp_must_be_asked_for() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    lab.stop_daemon();
    let fails = |lab: &Lab, more: &[&str]| {
        let first = lab.daemon_command();
        let mut command = Command::new(first.get_program());
        let out = command
            .args(first.get_args())
            .args(more)
            .output()
            .expect("daemon");
        assert!(!out.status.success(), "{out:?}");
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let text = fails(&lab, &["-H", "tcp://127.0.0.1:2375"]);
    assert!(
        text.contains("refusing to serve the API without TLS") && text.contains("--tls=false"),
        "{text}"
    );
    let text = fails(
        &lab,
        &[
            "-H",
            "tcp://127.0.0.1:2376",
            "--tlsverify",
            "--tlscacert",
            "/nope",
            "--tlscert",
            "/nope",
            "--tlskey",
            "/nope",
        ],
    );
    assert!(
        text.contains("could not read") && text.contains("/nope"),
        "{text}"
    );
    lab.set_flags(&["-H", "tcp://127.0.0.1:2375", "--tls=false"]);
    lab.start_daemon();
    let mut docker = lab.entered("docker");
    docker.args([
        "-H",
        "tcp://127.0.0.1:2375",
        "run",
        "--rm",
        "bb",
        "echo",
        "plain",
    ]);
    let out = docker.output().expect("docker");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "plain\n", "{out:?}");
    assert!(
        lab.daemon_log()
            .contains("without encryption or authentication")
    );
}
