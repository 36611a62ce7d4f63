//! Authorization plugins: programs beside the daemon that are asked about every request.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use e2e::{Lab, root, signal, wait_for};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(20);

/// What a plugin says to a question; with another status than 200 it has failed.
type Policy = fn(&str, &Value) -> (u16, Value);

/// A plugin that listens where Docker looks, and what it was asked.
#[derive(Clone, Default)]
struct Plugin(Arc<Mutex<Vec<(String, Value)>>>);

impl Plugin {
    fn start(lab: &Lab, name: &str, policy: Policy) -> Self {
        let dir = lab.seen(Path::new("/run/docker/plugins"));
        std::fs::create_dir_all(&dir).expect("directory");
        let listener = UnixListener::bind(dir.join(format!("{name}.sock"))).expect("socket");
        let plugin = Self::default();
        let asked = plugin.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                asked.serve(stream, policy);
            }
        });
        plugin
    }

    fn serve(&self, stream: UnixStream, policy: Policy) {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("request");
        let call = line.split(' ').nth(1).expect("path")[1..].to_owned();
        let mut length = 0;
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).expect("header");
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("length");
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("body");
        let question: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (status, answer) = match call.as_str() {
            "Plugin.Activate" => (200, json!({"Implements": ["authz"]})),
            _ => policy(&call, &question),
        };
        self.0.lock().expect("lock").push((call, question));
        let text = answer.to_string();
        let length = text.len();
        write!(
            reader.get_mut(),
            "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
        )
        .expect("answer");
    }

    /// What it was asked since the last time.
    fn asked(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.0.lock().expect("lock"))
    }
}

fn decoded(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text);
    String::from_utf8(bytes.expect("base64")).expect("text")
}

fn allow() -> (u16, Value) {
    (200, json!({"Allow": true}))
}

fn no_privileges(_: &str, question: &Value) -> (u16, Value) {
    match decoded(&question["RequestBody"]).contains("\"Privileged\":true") {
        true => (200, json!({"Allow": false, "Msg": "no privileges"})),
        false => allow(),
    }
}

fn strict(call: &str, question: &Value) -> (u16, Value) {
    let uri = question["RequestUri"].as_str().unwrap_or_default();
    match call {
        "AuthZPlugin.AuthZReq" if uri == "/version" => (500, json!({"Err": "it broke"})),
        "AuthZPlugin.AuthZRes" if uri == "/info" => (200, json!({"Allow": false, "Msg": "secret"})),
        _ => allow(),
    }
}

fn configure(lab: &Lab, plugins: &[&str]) {
    let text = json!({ "authorization-plugins": plugins }).to_string();
    std::fs::write(lab.path("daemon.json"), text).expect("daemon.json");
}

#[test]
fn plugins_decide_what_passes() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    let first = Plugin::start(&lab, "first", no_privileges);
    let second = Plugin::start(&lab, "second", strict);
    lab.stop_daemon();
    configure(&lab, &["first", "second"]);
    lab.start_daemon();
    assert_eq!(first.asked()[0].0, "Plugin.Activate");
    second.asked();

    let refused = lab.fails(1, &["create", "--privileged", "--name", "pp", "bb", "true"]);
    assert_eq!(
        refused,
        "Error response from daemon: authorization denied by plugin first: no privileges\n"
    );
    let (call, question) = first.asked().pop().expect("a question");
    assert_eq!(call, "AuthZPlugin.AuthZReq");
    assert_eq!(question["RequestMethod"], "POST");
    assert!(
        question["RequestUri"]
            .as_str()
            .is_some_and(|uri| uri.ends_with("create?name=pp"))
    );
    assert!(
        !second
            .asked()
            .iter()
            .any(|(_, question)| question["RequestMethod"] == "POST"),
        "it ends with the first that refuses"
    );
    let body = r#"{"Image":"bb","HostConfig":{"Privileged":true}}"#;
    assert_eq!(lab.send("POST", "/containers/create", body).status, 403);

    // Answers are decided on, too, and failures are nobody's permission.
    let answer = lab.get("/info");
    assert_eq!(
        (answer.status, answer.message().as_str()),
        (403, "authorization denied by plugin second: secret")
    );
    let answer = lab.get("/version");
    assert_eq!(
        (answer.status, answer.message().as_str()),
        (
            500,
            "plugin second failed with error: AuthZPlugin.AuthZReq: it broke"
        )
    );
    let large = format!("{{\"Image\":\"{}\"}}", "x".repeat(4 << 20));
    let answer = lab.send("POST", "/containers/create", &large);
    assert_eq!(
        (answer.status, answer.message().as_str()),
        (
            500,
            "request body too large for authorization plugin: size exceeds 4194304 bytes"
        )
    );

    // What is allowed works, streams and upgrades with it; credentials are not shown.
    first.asked();
    assert_eq!(lab.ok(&["run", "--rm", "bb", "echo", "hello"]), "hello");
    assert!(first.asked().iter().any(|(call, question)| {
        call == "AuthZPlugin.AuthZRes" && question["ResponseStatusCode"] == 101
    }));
    lab.raw(
        "GET /containers/json HTTP/1.1\r\nHost: d\r\nX-Registry-Auth: secret\r\nX-Other: y\r\n\r\n",
    );
    let (_, question) = first.asked().pop().expect("a question");
    assert_eq!(question["RequestHeaders"]["X-Other"], "y");
    assert!(question["RequestHeaders"]["X-Registry-Auth"].is_null());
    assert_eq!(decoded(&question["ResponseBody"]), "[]\n");
    assert_eq!(
        question["ResponseHeaders"]["Content-Type"],
        "application/json"
    );

    // A reload changes the chain.
    configure(&lab, &["second"]);
    signal(lab.daemon_pid(), "HUP");
    assert!(wait_for(LONG, || lab
        .daemon_log()
        .contains("settings read again")));
    lab.ok(&["create", "--privileged", "--name", "pp", "bb", "true"]);
    configure(&lab, &[]);
    signal(lab.daemon_pid(), "HUP");
    assert!(wait_for(LONG, || lab.get("/info").status == 200));
    let info: Value = serde_json::from_str(&lab.get("/info").body).expect("json");
    assert!(info["Plugins"]["Authorization"].is_null());
}

#[test]
fn a_program_that_is_no_such_plugin_is_refused() {
    if !root() {
        return;
    }
    let mut lab = Lab::with(e2e::Options {
        no_image: true,
        ..e2e::Options::default()
    });
    let dir = lab.seen(Path::new("/run/docker/plugins"));
    std::fs::create_dir_all(&dir).expect("directory");
    let listener = UnixListener::bind(dir.join("other.sock")).expect("socket");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let text = r#"{"Implements":["VolumeDriver"]}"#;
            let length = text.len();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).expect("request");
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}"
            )
            .expect("answer");
        }
    });
    lab.stop_daemon();
    lab.set_flags(&["--authorization-plugin", "other"]);
    let status = lab.daemon_command().status().expect("corten");
    lab.set_flags(&[]);
    let said = lab.daemon_log();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains(
            "failed to validate authorization plugin: Plugin does not implement the requested \
             driver: plugin=\"other\", requested implementation=\"authz\""
        ),
        "{said}"
    );
}

#[test]
fn an_end_does_not_wait_for_a_plugin() {
    if !root() {
        return;
    }
    let mut lab = Lab::with(e2e::Options {
        no_image: true,
        ..e2e::Options::default()
    });
    let sought = |lab: &Lab, times: usize| {
        let log = lab.daemon_log();
        log.matches("a plugin cannot be reached").count() >= times
    };
    // While a reload looks for it, and while a start does.
    configure(&lab, &["absent"]);
    signal(lab.daemon_pid(), "HUP");
    assert!(wait_for(LONG, || sought(&lab, 1)));
    lab.stop_daemon();
    let mut daemon = lab.daemon_command().spawn().expect("corten");
    assert!(wait_for(LONG, || sought(&lab, 2)));
    signal(daemon.id(), "TERM");
    assert!(daemon.wait().expect("corten").success());
    let said = lab.daemon_log();
    for waited_out in ["settings are not taken", "failed to validate"] {
        assert!(!said.contains(waited_out), "{said}");
    }
    configure(&lab, &[]);
}

/// Certificates of a CA of one's own below `dir`: for the server, and for a client called `alice`.
fn certificates(dir: &Path) {
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("file");
    let key = rcgen::KeyPair::generate().expect("key");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    write("ca.pem", &params.self_signed(&key).expect("CA").pem());
    let issuer = rcgen::Issuer::new(params, key);
    for (name, common) in [("server", "a server"), ("client", "alice")] {
        let key = rcgen::KeyPair::generate().expect("key");
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).expect("params");
        let named = &mut params.distinguished_name;
        named.push(rcgen::DnType::CommonName, common);
        let cert = params.signed_by(&key, &issuer).expect("certificate");
        write(&format!("{name}.pem"), &cert.pem());
        write(&format!("{name}.key"), &key.serialize_pem());
    }
}

fn alice_only(_: &str, question: &Value) -> (u16, Value) {
    match question["User"] == "alice" && question["UserAuthNMethod"] == "TLS" {
        true => allow(),
        false => (200, json!({"Allow": false, "Msg": "who are you"})),
    }
}

#[test]
fn by_tls_a_client_has_a_name() {
    if !root() {
        return;
    }
    let mut lab = Lab::with(e2e::Options {
        no_image: true,
        ..e2e::Options::default()
    });
    let dir = lab.directory("tls");
    certificates(&dir);
    let file = |name: &str| dir.join(name).display().to_string();
    let plugin = Plugin::start(&lab, "names", alice_only);
    lab.stop_daemon();
    let (ca, cert, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
    lab.set_flags(&[
        "-H",
        "tcp://127.0.0.1:2376",
        "--tlsverify",
        "--tlscacert",
        &ca,
        "--tlscert",
        &cert,
        "--tlskey",
        &key,
    ]);
    // Through the socket nobody would be let in to see whether it answers.
    lab.start_daemon();
    configure(&lab, &["names"]);
    signal(lab.daemon_pid(), "HUP");
    let refused = || lab.get("/version").status == 403;
    assert!(wait_for(LONG, refused));
    plugin.asked();
    let mut docker = lab.entered("docker");
    docker.args([
        "-H",
        "tcp://127.0.0.1:2376",
        "--tlsverify",
        "--tlscacert",
        &ca,
    ]);
    docker.args([
        "--tlscert",
        &file("client.pem"),
        "--tlskey",
        &file("client.key"),
    ]);
    let out = docker.args(["ps", "-q"]).output().expect("docker");
    assert!(out.status.success(), "{out:?}");
    let (_, question) = plugin.asked().pop().expect("a question");
    let certificate = decoded(&question["RequestPeerCertificates"][0]);
    assert_eq!(
        certificate.replace('\r', ""),
        std::fs::read_to_string(file("client.pem"))
            .expect("file")
            .replace('\r', "")
    );
    configure(&lab, &[]);
    signal(lab.daemon_pid(), "HUP");
    assert!(wait_for(LONG, || lab.get("/version").status == 200));
}
