//! Clients of every version of the API.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use e2e::{Lab, root};
use serde_json::Value;

/// An answer's JSON by a version's route.
fn json(lab: &Lab, version: u32, path: &str) -> Value {
    let answer = lab.get(&format!("/v1.{version}{path}"));
    assert_eq!(answer.status, 200, "1.{version} {path}: {answer:?}");
    serde_json::from_str(&answer.body).expect("json")
}

#[test]
fn the_stock_client_in_every_version() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let docker = |version: &str, args: &[&str]| {
        let mut command = lab.docker_command(args);
        let out = command
            .env("DOCKER_API_VERSION", version)
            .output()
            .expect("docker");
        assert!(out.status.success(), "{version} {args:?}: {out:?}");
        String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
    };
    for minor in 24..=51 {
        let version = format!("1.{minor}");
        let name = format!("v{minor}");
        let told = docker(
            &version,
            &[
                "version",
                "-f",
                "{{.Client.APIVersion}} {{.Server.APIVersion}}",
            ],
        );
        assert_eq!(told, format!("{version} 1.51"));
        let out = docker(
            &version,
            &[
                "run",
                "--name",
                &name,
                "-e",
                "A=b",
                "bb",
                "sh",
                "-c",
                "echo $A; exit 0",
            ],
        );
        assert_eq!(out, "b", "{version}");
        assert_eq!(docker(&version, &["logs", &name]), "b", "{version}");
        assert_eq!(
            docker(&version, &["inspect", "-f", "{{.State.ExitCode}}", &name]),
            "0"
        );
        let listed = docker(&version, &["ps", "-a", "--format", "{{.Names}}"]);
        assert_eq!(listed, name, "{version}");
        docker(&version, &["rm", &name]);
    }
    let out = lab
        .docker_command(&["version"])
        .env("DOCKER_API_VERSION", "1.23")
        .output()
        .expect("docker");
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("client version 1.23 is too old"),
        "{out:?}"
    );
    // Without a wish the two agree on the newest that both know.
    let both = lab.ok(&[
        "version",
        "-f",
        "{{.Client.APIVersion}} {{.Server.MinAPIVersion}}",
    ]);
    assert!(both.ends_with(" 1.24"), "{both}");
}

#[test]
fn what_older_versions_see() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&[
        "run",
        "-d",
        "--name",
        "one",
        "--annotation",
        "a=b",
        "bb",
        "sleep",
        "1000",
    ]);
    let options = |version| json(&lab, version, "/info")["SecurityOptions"].to_string();
    assert!(options(25).contains("name=seccomp") && !options(24).contains("name="));
    for (version, there) in [(48, false), (49, true)] {
        let info = json(&lab, version, "/info");
        assert_eq!(info.get("FirewallBackend").is_some(), there, "1.{version}");
    }
    for (version, there) in [(49, true), (50, false)] {
        assert_eq!(
            json(&lab, version, "/info")
                .get("BridgeNfIptables")
                .is_some(),
            there
        );
    }
    for (version, there) in [(43, false), (44, true)] {
        let found = json(&lab, version, "/containers/one/json");
        let bridge = &found["NetworkSettings"]["Networks"]["bridge"];
        assert_eq!(bridge.get("DNSNames").is_some(), there, "1.{version}");
        let images = json(&lab, version, "/images/json");
        assert_eq!(
            images[0].get("VirtualSize").is_some(),
            !there,
            "1.{version}"
        );
    }
    for (version, there) in [(45, false), (46, true)] {
        let list = json(&lab, version, "/containers/json");
        assert_eq!(
            list[0]["HostConfig"].get("Annotations").is_some(),
            there,
            "1.{version}"
        );
    }
    for (version, count) in [(50, -1), (51, 1)] {
        let images = json(&lab, version, "/images/json");
        let all = images.as_array().expect("list");
        let bb = all
            .iter()
            .find(|image| image["RepoTags"][0] == "bb:latest")
            .expect("bb");
        assert_eq!(bb["Containers"], count, "1.{version}");
    }
    for (version, there) in [(49, true), (50, false)] {
        let image = json(&lab, version, "/images/bb/json");
        assert_eq!(
            image["Config"].get("Hostname").is_some(),
            there,
            "1.{version}"
        );
    }
}

#[test]
fn what_older_versions_mean() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let create = |version: u32, name: &str, more: &str| {
        let body = format!("{{\"Image\":\"bb\",\"Cmd\":[\"true\"]{more}}}");
        let path = format!("/v1.{version}/containers/create?name={name}");
        let answer = lab.send("POST", &path, &body);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body
    };
    for (version, mode) in [(39, "shareable"), (40, "private")] {
        let name = format!("ipc{version}");
        create(version, &name, "");
        assert_eq!(lab.inspect(&name, "{{.HostConfig.IpcMode}}"), mode);
    }
    let annotated = ",\"HostConfig\":{\"Annotations\":{\"a\":\"b\"}}";
    for (version, count) in [(42, "0"), (43, "1")] {
        let name = format!("note{version}");
        create(version, &name, annotated);
        assert_eq!(lab.inspect(&name, "{{len .HostConfig.Annotations}}"), count);
    }
    let mac = ",\"MacAddress\":\"02:42:ac:11:00:77\"";
    assert!(!create(43, "mac43", mac).contains("deprecated"));
    assert!(create(44, "mac44", mac).contains("MacAddress field is now deprecated"));
    let two = "{\"Image\":\"bb\",\"NetworkingConfig\":{\"EndpointsConfig\":{\"a\":{},\"b\":{}}}}";
    let answer = lab.send("POST", "/v1.43/containers/create", two);
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .message()
            .starts_with("Container cannot be created with multiple network endpoints")
    );
    // Before 1.30 the answer of a wait comes with its headers.
    let answer = lab.send("POST", "/v1.29/containers/ipc39/wait", "");
    assert_eq!(
        (answer.status, answer.body.contains("\"StatusCode\":0")),
        (200, true),
        "{answer:?}"
    );
}
