//! A client library's round trip: bollard.
#![allow(clippy::expect_used, reason = "a test fails loudly")]

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::{ContainerCreateBody, HostConfig, PortBinding};
use bollard::query_parameters::*;
use e2e::{Lab, root};
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

fn connect(lab: &Lab) -> Docker {
    let socket = lab.socket().display().to_string();
    Docker::connect_with_unix(&socket, 60, bollard::API_DEFAULT_VERSION).expect("client")
}

fn words(text: &str) -> Option<Vec<String>> {
    Some(text.split('|').map(str::to_owned).collect())
}

/// What a stream said, by its kind.
async fn text(
    mut stream: impl futures_util::Stream<Item = Result<LogOutput, bollard::errors::Error>> + Unpin,
) -> (String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    while let Some(part) = stream.next().await {
        match part.expect("part") {
            LogOutput::StdErr { message } => err += &String::from_utf8_lossy(&message),
            other => out += &String::from_utf8_lossy(&other.into_bytes()),
        }
    }
    (out, err)
}

#[test]
fn round_trip() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let whole = async {
        let docker = connect(&lab).negotiate_version().await.expect("version");
        lives(&docker).await;
        errors(&docker).await;
    };
    let limit = Duration::from_secs(60);
    runtime.block_on(async { tokio::time::timeout(limit, whole).await.expect("in time") });
}

async fn lives(docker: &Docker) {
    let filters = HashMap::from([("container".to_owned(), vec!["one".to_owned()])]);
    let events = docker.events(Some(EventsOptions {
        filters: Some(filters),
        ..Default::default()
    }));
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let listening = tokio::spawn(events.for_each(move |event| {
        let _ = told.send(event.expect("event").action.unwrap_or_default());
        std::future::ready(())
    }));
    docker
        .version()
        .await
        .expect("a round trip, so that the events are on");
    let body = ContainerCreateBody {
        image: Some("bb".into()),
        cmd: words("sh|-c|read x; echo got $x; echo oops >&2; read y; exit 9"),
        open_stdin: Some(true),
        labels: Some(HashMap::from([("l".to_owned(), "v".to_owned())])),
        host_config: Some(HostConfig {
            memory: Some(64 << 20),
            port_bindings: Some(HashMap::from([(
                "80/tcp".to_owned(),
                Some(vec![PortBinding {
                    host_ip: Some("127.0.0.1".into()),
                    host_port: Some("8080".into()),
                }]),
            )])),
            ..Default::default()
        }),
        ..Default::default()
    };
    let options = CreateContainerOptions {
        name: Some("one".into()),
        ..Default::default()
    };
    let made = docker
        .create_container(Some(options), body)
        .await
        .expect("create");
    let attach = AttachContainerOptions {
        stdin: true,
        stdout: true,
        stderr: true,
        stream: true,
        ..Default::default()
    };
    let mut attached = docker
        .attach_container("one", Some(attach))
        .await
        .expect("attach");
    docker
        .start_container("one", None::<StartContainerOptions>)
        .await
        .expect("start");
    attached.input.write_all(b"this\n").await.expect("input");
    let first = attached
        .output
        .next()
        .await
        .expect("a part")
        .expect("a part");
    assert_eq!(first.to_string(), "got this\n");

    let found = docker
        .inspect_container("one", None::<InspectContainerOptions>)
        .await
        .expect("inspect");
    assert_eq!(found.id.as_deref(), Some(made.id.as_str()));
    assert_eq!(found.state.and_then(|state| state.running), Some(true));
    assert_eq!(
        found.host_config.and_then(|host| host.memory),
        Some(64 << 20)
    );
    let filters = HashMap::from([("label".to_owned(), vec!["l=v".to_owned()])]);
    let list = docker.list_containers(Some(ListContainersOptions {
        filters: Some(filters),
        ..Default::default()
    }));
    let list = list.await.expect("list");
    assert_eq!(list[0].names, Some(vec!["/one".to_owned()]));
    assert_eq!(
        list[0].ports.as_ref().expect("ports")[0].public_port,
        Some(8080)
    );

    let exec = CreateExecOptions {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: words("sh|-c|echo in; exit 5"),
        ..Default::default()
    };
    let exec = docker.create_exec("one", exec).await.expect("exec").id;
    match docker.start_exec(&exec, None).await.expect("exec") {
        StartExecResults::Attached { output, .. } => assert_eq!(text(output).await.0, "in\n"),
        StartExecResults::Detached => panic!("detached"),
    }
    let ended = docker.inspect_exec(&exec).await.expect("exec");
    assert_eq!((ended.running, ended.exit_code), (Some(false), Some(5)));
    let once = StatsOptions {
        stream: false,
        one_shot: true,
    };
    let stats = docker
        .stats("one", Some(once))
        .next()
        .await
        .expect("stats")
        .expect("stats");
    let used = stats.memory_stats.and_then(|memory| memory.usage);
    assert!(used.is_some_and(|bytes| bytes > 0), "{used:?}");

    let mut wait = docker.wait_container("one", None::<WaitContainerOptions>);
    attached.input.write_all(b"end\n").await.expect("input");
    let ended = wait.next().await.expect("wait");
    let code = match ended {
        Ok(ended) => ended.status_code,
        Err(bollard::errors::Error::DockerContainerWaitError { code, .. }) => code,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(code, 9);
    let logs = LogsOptions {
        stdout: true,
        stderr: true,
        ..Default::default()
    };
    let logs = docker.logs("one", Some(logs));
    assert_eq!(
        text(logs).await,
        ("got this\n".to_owned(), "oops\n".to_owned())
    );
    docker
        .remove_container("one", None::<RemoveContainerOptions>)
        .await
        .expect("remove");
    let mut actions = Vec::new();
    while actions.last().is_none_or(|last| last != "destroy") {
        actions.push(heard.recv().await.expect("event"));
    }
    listening.abort();
    let main: Vec<&str> = actions
        .iter()
        .map(String::as_str)
        .filter(|action| !action.starts_with("exec_"))
        .collect();
    assert_eq!(
        main,
        ["create", "attach", "start", "die", "destroy"],
        "{actions:?}"
    );
}

async fn errors(docker: &Docker) {
    let missing = docker
        .inspect_container("nope", None::<InspectContainerOptions>)
        .await;
    match missing.expect_err("missing") {
        bollard::errors::Error::DockerResponseServerError {
            status_code,
            message,
        } => {
            assert_eq!(
                (status_code, message.as_str()),
                (404, "No such container: nope")
            );
        }
        other => panic!("{other}"),
    }
}
