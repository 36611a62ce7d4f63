//! Requests and answers of old clients.

use dockerapi::{ContainerInspect, CreateBody, ImageInspect, ImageSummary, Info};
use serde_json::json;

use super::{container, create_body, image, image_list, info};
use crate::version::ApiVersion;

fn created(minor: u32, body: serde_json::Value) -> engine::Result<(CreateBody, Vec<String>)> {
    let mut body: CreateBody = serde_json::from_value(body).expect("a body");
    let warnings = create_body(&mut body, ApiVersion::new(1, minor), || true)?;
    Ok((body, warnings))
}

#[test]
fn defaults_of_create_by_version() {
    let modes = |minor| {
        let (body, _) = created(minor, json!({"Image": "a"})).expect("body");
        let host = body.host_config;
        (host.ipc_mode, host.cgroupns_mode, host.network_mode)
    };
    let text = |a: &str, b: &str| (a.to_owned(), b.to_owned(), "default".to_owned());
    assert_eq!(modes(39), text("shareable", "host"));
    assert_eq!(modes(40), text("", "host"));
    assert_eq!(modes(41), text("", ""));
}

#[test]
fn fields_that_a_version_did_not_have_are_ignored() {
    let body = json!({
        "HostConfig": {
            "ConsoleSize": [1, 2],
            "Annotations": {"a": "b"},
            "PidsLimit": -1,
            "Mounts": [{
                "Type": "bind", "ReadOnly": true,
                "BindOptions": {"CreateMountpoint": true, "NonRecursive": true},
                "TmpfsOptions": {"SizeBytes": 1}
            }]
        }
    });
    let (old, _) = created(30, body.clone()).expect("body");
    assert_eq!(old.host_config.console_size, [0, 0]);
    assert!(old.host_config.annotations.is_empty());
    assert_eq!(old.host_config.resources.pids_limit, None);
    let bind = old.host_config.mounts[0]
        .bind_options
        .clone()
        .expect("options");
    assert!(!bind.create_mountpoint && !bind.non_recursive && bind.read_only_non_recursive);
    assert!(old.host_config.mounts[0].tmpfs_options.is_none());
    let (new, _) = created(51, body).expect("body");
    assert_eq!(new.host_config.console_size, [1, 2]);
    let bind = new.host_config.mounts[0]
        .bind_options
        .clone()
        .expect("options");
    assert!(bind.create_mountpoint && bind.non_recursive && !bind.read_only_non_recursive);
}

#[test]
fn networks_and_addresses() {
    let two = json!({"NetworkingConfig": {"EndpointsConfig": {"a": null, "b": null}}});
    assert!(created(43, two.clone()).is_err());
    assert!(created(44, two).is_ok());
    let mac = json!({"MacAddress": "02:42:ac:11:00:02"});
    let (body, warnings) = created(43, mac.clone()).expect("body");
    assert!(warnings.is_empty());
    let endpoint = body.networking_config.endpoints_config["default"]
        .clone()
        .expect("endpoint");
    assert_eq!(endpoint.mac_address, "02:42:ac:11:00:02");
    assert_eq!(created(44, mac).expect("body").1.len(), 1);
}

#[test]
fn answers_about_images() {
    let v = |minor| ApiVersion::new(1, minor);
    let rows = vec![ImageSummary {
        size: 5,
        containers: 2,
        ..Default::default()
    }];
    let old = image_list(rows.clone(), v(42));
    assert_eq!((old[0].virtual_size, old[0].containers), (Some(5), -1));
    assert_eq!(old[0].repo_tags, ["<none>:<none>"]);
    let new = image_list(rows, v(51));
    assert_eq!((new[0].virtual_size, new[0].containers), (None, 2));
    assert!(new[0].repo_tags.is_empty());

    let old = image(ImageInspect::default(), v(43)).expect("image");
    assert!(old.get("VirtualSize").is_some() && old.get("ContainerConfig").is_some());
    assert!(old["Config"].get("Hostname").is_some());
    let new = image(ImageInspect::default(), v(50)).expect("image");
    assert!(new.get("VirtualSize").is_none() && new.get("Container").is_none());
    assert!(new["Config"].get("Hostname").is_none() && new["Config"].get("Cmd").is_some());
}

#[test]
fn answers_about_containers_and_the_engine() {
    let v = |minor| ApiVersion::new(1, minor);
    let mut found = ContainerInspect {
        id: "0123456789abcdef".into(),
        ..Default::default()
    };
    found
        .network_settings
        .networks
        .insert("own".into(), Default::default());
    let old = container(found.clone(), v(43)).expect("container");
    let endpoint = &old["NetworkSettings"]["Networks"]["own"];
    assert_eq!(endpoint["Aliases"], json!(["0123456789ab"]));
    assert!(endpoint.get("DNSNames").is_none());
    let new = container(found, v(45)).expect("container");
    assert_eq!(
        new["NetworkSettings"]["Networks"]["own"]["Aliases"],
        json!(null)
    );

    let told = Info {
        security_options: vec!["name=seccomp,profile=builtin".into()],
        ..Info::default()
    };
    let old = info(told.clone(), v(24)).expect("info");
    assert_eq!(old["SecurityOptions"], json!(["seccomp"]));
    assert_eq!(old["BridgeNfIptables"], json!(false));
    let new = info(told, v(50)).expect("info");
    assert_eq!(
        new["SecurityOptions"],
        json!(["name=seccomp,profile=builtin"])
    );
    assert!(new.get("BridgeNfIptables").is_none());
}
