//! `commit`: a container's changes as an image.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::time::Duration;

use e2e::registry::Registry;
use e2e::{Lab, root, wait_for};

const CHANGES: &str = "echo new > /data/new && rm /data/seed && ln -s /data /made/link \
                       && ln /data/new /made/hard && chmod 700 /made && rm -rf /home && mkdir /home";
/// What shows them.
const LOOK: &str = "cat /data/new; ls /data /home; readlink /made/link; stat -c %a:%h /made/hard; \
                    stat -c %a /made; echo $WHO; pwd";

#[test]
fn changes_become_an_image_that_runs_and_can_be_pushed() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let parent = lab.inspect_image("bb", "{{.Id}}");
    let ended = [
        "run", "--name", "ended", "-e", "WHO=me", "-w", "/made", "bb", "sh", "-c",
    ];
    lab.ok(&[&ended[..], &[CHANGES]].concat());
    let since = lab.now();
    let id = lab.ok(&[
        "commit",
        "-a",
        "An Author",
        "-m",
        "why not",
        "-c",
        "CMD [\"cat\", \"/data/new\"]",
        "-c",
        "LABEL kind=test",
        "ended",
        "made:1",
    ]);
    assert!(id.starts_with("sha256:"), "{id}");
    let name = lab.inspect("ended", "{{.Id}}");
    let format = "{{.Type}} {{.Action}} {{.Actor.ID}} {{.Actor.Attributes.imageRef}}";
    let told = lab.events(&since, &[], format);
    assert!(
        told.contains(&format!("container commit {name} made:1")),
        "{told}"
    );
    assert!(told.contains(&format!("image create {id}")), "{told}");
    // The layers below are those of the parent; the command of the container goes into the history.
    let format = "{{.Parent}} {{.Author}} {{.Comment}} {{len .RootFS.Layers}} {{.Config.Labels.kind}} \
                  {{.Config.WorkingDir}}";
    let shown = lab.inspect("made:1", format);
    let layers = |name: &str| lab.inspect(name, "{{json .RootFS.Layers}}");
    let first = layers("bb").trim_end_matches(']').to_owned();
    let count = lab
        .inspect_image("bb", "{{len .RootFS.Layers}}")
        .parse::<u32>()
        .expect("number")
        + 1;
    assert_eq!(
        shown,
        format!("{parent} An Author why not {count} test /made")
    );
    assert!(layers("made:1").starts_with(&first), "{shown}");
    let history = lab.ok(&[
        "history",
        "--no-trunc",
        "--format",
        "{{.CreatedBy}}|{{.Comment}}",
        "made:1",
    ]);
    assert!(
        history.starts_with(&format!("sh -c {CHANGES}|why not")),
        "{history}"
    );
    assert_eq!(lab.ok(&["run", "--rm", "made:1"]), "new");
    let seen = lab.ok(&["run", "--rm", "made:1", "sh", "-c", LOOK]);
    assert_eq!(
        seen,
        "new\n/data:\nnew\n\n/home:\n/data\n600:2\n700\nme\n/made".replace("600", "644")
    );
    // A parent stays while it has children.
    assert!(lab.fails(1, &["rmi", "bb"]).contains("conflict"));
    if !Registry::is_there() {
        return;
    }
    let _registry = Registry::start(&lab);
    lab.ok(&["tag", "made:1", "127.0.0.1:5000/made:1"]);
    lab.ok(&["push", "-q", "127.0.0.1:5000/made:1"]);
    lab.ok(&["rm", "ended"]);
    lab.ok(&["rmi", "made:1", "127.0.0.1:5000/made:1", "bb"]);
    lab.ok(&["pull", "-q", "127.0.0.1:5000/made:1"]);
    assert_eq!(lab.inspect("127.0.0.1:5000/made:1", "{{.Id}}"), id);
    assert_eq!(
        lab.ok(&["run", "--rm", "127.0.0.1:5000/made:1", "sh", "-c", LOOK]),
        seen
    );
}

#[test]
fn a_running_container_is_paused_meanwhile_if_that_is_asked_for() {
    if !root() {
        return;
    }
    let mut lab = Lab::new();
    lab.sleeper("up", &[]);
    for (flags, paused) in [(&[][..], true), (&["--pause=false"][..], false)] {
        for own in [false, true] {
            let since = lab.now();
            let words = [&["commit"], flags, &["up"]].concat();
            let ran = if own {
                lab.corten(&words)
            } else {
                lab.docker(&words)
            };
            assert_eq!(ran.code, 0, "{ran:?}");
            let told = lab.events(&since, &["container=up"], "{{.Action}}");
            let told: Vec<_> = told.lines().collect();
            match paused {
                true => assert_eq!(told, ["pause", "commit", "unpause"]),
                false => assert_eq!(told, ["commit"]),
            }
        }
    }
    // Nothing was changed: no layer.
    let format = "{{json .RootFS.Layers}}";
    let id = lab.ok(&["commit", "up"]);
    assert_eq!(lab.inspect(&id, format), lab.inspect_image("bb", format));
    // One that is paused stays so.
    lab.ok(&["pause", "up"]);
    lab.ok(&["commit", "up"]);
    assert_eq!(lab.inspect("up", "{{.State.Status}}"), "paused");
    lab.ok(&["unpause", "up"]);

    // An engine that is killed leaves none frozen.
    lab.ok(&[
        "exec",
        "up",
        "dd",
        "if=/dev/zero",
        "of=/large",
        "bs=1M",
        "count=300",
    ]);
    let mut client = lab.spawn(&["commit", "up", "large"]);
    let paused = || lab.inspect("up", "{{.State.Status}}") == "paused";
    assert!(wait_for(Duration::from_secs(20), paused), "never paused");
    lab.kill_daemon();
    let _ = client.wait();
    lab.start_daemon();
    lab.becomes("up", "{{.State.Status}}", "running");
    assert!(
        lab.fails(1, &["image", "inspect", "large"])
            .contains("No such image")
    );
    lab.ok(&["commit", "up", "large"]);
    assert_eq!(
        lab.ok(&["run", "--rm", "large", "stat", "-c", "%s", "/large"]),
        "314572800"
    );
    lab.ok(&["rm", "-f", "up"]);
}

#[test]
fn what_no_client_would_send() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&["create", "--name", "made", "-e", "A=1", "bb", "true"]);
    for (query, body, status, says) in [
        ("container=none", "", 404, "No such container: none"),
        ("container=made&repo=UPPER", "", 400, "must be lowercase"),
        (
            "container=made&repo=x&tag=%21",
            "",
            400,
            "invalid tag format",
        ),
        (
            "container=made&changes=RUN%20x",
            "",
            400,
            "run is not a valid change command",
        ),
        ("container=made", "[1]", 400, "invalid JSON"),
    ] {
        let answer = lab.send("POST", &format!("/commit?{query}"), body);
        assert_eq!(answer.status, status, "{query}: {answer:?}");
        assert!(answer.message().contains(says), "{query}: {answer:?}");
    }
    for (body, env, cmd) in [
        ("{}", "A=1", "true"),
        (r#"{"Cmd":["x"],"Env":["B=2"]}"#, "B=2 A=1", "x"),
    ] {
        let answer = lab.send("POST", "/commit?container=made&repo=c", body);
        assert_eq!(answer.status, 201, "{answer:?}");
        let format = "{{range .Config.Env}}{{.}} {{end}}{{join .Config.Cmd \",\"}}";
        let shown = lab.inspect("c", format).replace("PATH=", "");
        assert!(shown.starts_with(env) && shown.ends_with(cmd), "{shown}");
    }
}
