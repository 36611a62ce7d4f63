//! Keepers of other builds, which live on beside a new daemon. What they say is frozen here: this file is
//! not to follow changes of the protocol.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use compute::{Adopted, Compute, Kind, Notice};
use compute_linux::{Config, Linux};
use keeper_protocol::{Frame, Inbox, Outbox, Received};
use oci::runtime::ConsoleSize;
use serde_json::{Value, json};

const ID: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

/// A keeper that is played, and the process that it keeps.
struct Keeper {
    dir: tempfile::TempDir,
    process: Child,
}

impl Keeper {
    /// Answers each call with what `play` says, and sends news after it.
    fn start(play: impl Fn(&Value) -> Vec<Value> + Send + 'static) -> (Self, Receiver<Value>) {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("containers").join(ID);
        std::fs::create_dir_all(&own).unwrap();
        let listener = UnixListener::bind(own.join("keeper.sock")).unwrap();
        let process = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&process);
        let (sender, calls) = channel();
        std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let mut inbox = Inbox::default();
            while inbox.fill(socket.as_fd(), true).unwrap() != Received::End {
                while let Some(frame) = inbox.take::<Value>().unwrap() {
                    let mut first = (frame.message["request"] == "Adopt").then(|| {
                        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
                            .unwrap()
                    });
                    for message in play(&frame.message) {
                        say(&socket, message, first.take());
                    }
                    let _ = sender.send(frame.message);
                }
            }
        });
        (Self { dir, process }, calls)
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    fn compute(&self) -> Linux {
        let config = Config {
            run_dir: self.dir.path().to_owned(),
            systemd_cgroups: false,
        };
        Linux::new(config).unwrap()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn say(socket: &UnixStream, message: Value, fd: Option<OwnedFd>) {
    let mut outbox = Outbox::default();
    let mut frame = Frame::new(message);
    frame.fds.extend(fd);
    outbox.push(frame).unwrap();
    while !outbox.flush(socket.as_fd()).unwrap() {}
}

fn reply(call: &Value, reply: &Value) -> Value {
    json!({"Reply": {"seq": call["seq"], "reply": reply}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_the_first_version_is_taken_over() {
    let own = std::sync::Arc::new(std::sync::OnceLock::new());
    let known = std::sync::Arc::clone(&own);
    let (keeper, calls) = Keeper::start(move |call| match &call["request"] {
        request if request == "Adopt" => {
            let state = json!({"State": {"pid": known.wait(), "started_at": 5, "execs": []}});
            vec![reply(call, &state)]
        }
        _ => vec![
            reply(call, &json!("Done")),
            json!({"Event": {"Ended": {"code": 7, "oom_killed": false, "finished_at": 9}}}),
        ],
    });
    own.set(keeper.pid()).unwrap();
    let compute = keeper.compute();
    let Adopted::Running(mut running) = compute.adopt(ID).await.unwrap() else {
        panic!("not running");
    };
    assert_eq!(running.pid, keeper.pid());
    let size = ConsoleSize {
        height: 3,
        width: 4,
    };
    compute.resize(ID, None, size).await.unwrap();
    let calls: Vec<Value> = [(); 2]
        .map(|()| calls.recv_timeout(Duration::from_secs(20)).unwrap())
        .into();
    assert_eq!(calls[0], json!({"seq": 1, "request": "Adopt"}));
    let resize = json!({"Resize": {"exec": null, "size": {"height": 3, "width": 4}}});
    assert_eq!(calls[1], json!({"seq": 2, "request": resize}));
    match running.notices.recv().await {
        Some(Notice::Exited(exit)) => assert_eq!(exit.code, 7),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_later_one_says_is_passed_over() {
    let own = std::sync::Arc::new(std::sync::OnceLock::new());
    let known = std::sync::Arc::clone(&own);
    let (keeper, _calls) = Keeper::start(move |call| match &call["request"] {
        request if request == "Adopt" => {
            let state = json!({"State": {
                "pid": known.wait(), "started_at": 5, "execs": [], "version": 99, "more": {"x": 1},
            }});
            vec![reply(call, &state), json!({"Event": {"Sang": {"song": 1}}})]
        }
        _ => vec![
            reply(call, &json!({"Measured": [1, 2]})),
            json!({"Event": "Oom"}),
        ],
    });
    own.set(keeper.pid()).unwrap();
    let compute = keeper.compute();
    let Adopted::Running(mut running) = compute.adopt(ID).await.unwrap() else {
        panic!("not running");
    };
    let size = ConsoleSize {
        height: 3,
        width: 4,
    };
    let error = compute.resize(ID, None, size).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unsupported, "{error}");
    // The connection goes on, and the container with it.
    assert!(matches!(running.notices.recv().await, Some(Notice::Oom)));
}
