//! The engine's logic over a platform in memory: lives of containers, restart policies, what an
//! engine makes of what an earlier one left. Needs root, for root file systems are mounted.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod commit;
mod random;
mod told;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use compute::Compute as _;
use compute_sim::Sim;
use dockerapi::ContainerState;
use engine::{Config, Engine, ErrorKind, EventsOptions, RemoveOptions, WaitCondition};
use serde_json::json;

/// What outlives an engine: its directory and the platform.
pub(crate) struct House {
    dir: tempfile::TempDir,
    pub(crate) sim: Sim,
}

/// An engine at work.
pub(crate) struct Lab {
    pub(crate) engine: Engine,
    pub(crate) sim: Sim,
}

impl House {
    pub(crate) fn new() -> Self {
        Self::beside(Sim::default())
    }

    /// Another data root over the same platform.
    fn beside(sim: Sim) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            sim,
        }
    }

    /// Opens an engine, works with it, and takes it away without a word, as kill(1) would: its
    /// tasks end where they are.
    pub(crate) fn day<T>(&self, work: impl AsyncFnOnce(&Lab) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let result = runtime.block_on(async {
            let lab = Lab {
                engine: self.open().await,
                sim: self.sim.clone(),
            };
            work(&lab).await
        });
        runtime.shutdown_timeout(Duration::from_secs(10));
        result
    }

    async fn open(&self) -> Engine {
        let live = engine::Live {
            shutdown_timeout: 5,
            ..engine::Live::default()
        };
        let config = Config {
            data_root: self.dir.path().join("data"),
            exec_root: self.dir.path().join("run"),
            bridge: None,
            ..Config::default()
        };
        // The thread that writes the database lets it go a moment after the last task has.
        within(async {
            loop {
                match Engine::open(config.clone(), live.clone(), Arc::new(self.sim.clone())).await {
                    Ok(engine) => return engine,
                    Err(error) if error.message.contains("already open") => {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await
    }
}

/// A limit for what should come about by itself.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, work).await.expect("in time")
}

impl Lab {
    pub(crate) async fn create(&self, name: &str, cmd: &[&str], host: serde_json::Value) -> String {
        self.try_create(name, cmd, host).await.unwrap()
    }

    pub(crate) async fn try_create(
        &self,
        name: &str,
        cmd: &[&str],
        mut host: serde_json::Value,
    ) -> engine::Result<String> {
        host["NetworkMode"] = "none".into();
        let body = json!({"Image": "corten/hello", "Cmd": cmd, "HostConfig": host});
        let body = serde_json::from_value(body).unwrap();
        let made = self.engine.container_create(Some(name), None, body).await?;
        Ok(made.id)
    }

    pub(crate) fn state(&self, name: &str) -> ContainerState {
        self.engine.container_inspect(name, false).unwrap().state
    }

    async fn ended(&self, name: &str) -> i64 {
        let wait = self
            .engine
            .container_wait(name, WaitCondition::NotRunning)
            .unwrap();
        within(wait).await.status_code
    }

    /// Waits until the state is as wanted.
    async fn until(&self, name: &str, wanted: impl Fn(&ContainerState) -> bool) -> ContainerState {
        within(async {
            loop {
                let state = self.state(name);
                if wanted(&state) {
                    return state;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
    }
}

#[test]
fn a_life() {
    House::new().day(async |lab| {
        let engine = &lab.engine;
        let id = lab.create("one", &["sleep"], json!({})).await;
        assert_eq!(lab.state("one").status, "created");
        assert!(engine.container_start("one").await.unwrap());
        assert!(!engine.container_start("one").await.unwrap());
        assert_eq!(lab.state("one").status, "running");
        engine.container_pause("one").await.unwrap();
        assert_eq!(lab.state("one").status, "paused");
        let error = engine.container_pause("one").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        engine.container_unpause("one").await.unwrap();
        let error = engine
            .container_remove("one", RemoveOptions::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(engine.container_stop("one", None, None).await.unwrap());
        assert_eq!(lab.state("one").exit_code, 143);
        assert!(!engine.container_stop("one", None, None).await.unwrap());
        engine
            .container_remove("one", RemoveOptions::default())
            .await
            .unwrap();
        assert!(engine.container_inspect(&id, false).is_err());
        // Its name is free, and nothing of its runs is left.
        lab.create("one", &["exit", "0"], json!({})).await;
        within(async {
            while !lab.sim.known().await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
}

#[test]
fn a_stop_that_is_not_heard_becomes_a_kill() {
    House::new().day(async |lab| {
        lab.create("deaf", &["stubborn"], json!({})).await;
        lab.engine.container_start("deaf").await.unwrap();
        let stopped = lab.engine.container_stop("deaf", None, Some(0)).await;
        assert!(stopped.unwrap());
        assert_eq!(lab.state("deaf").exit_code, 137);
    });
}

#[test]
fn a_start_that_fails_leaves_a_container_that_can_be_removed() {
    House::new().day(async |lab| {
        lab.create("bad", &["missing"], json!({})).await;
        let error = lab.engine.container_start("bad").await.unwrap_err();
        assert!(
            error.message.contains("executable file not found in $PATH"),
            "{error}"
        );
        let state = lab.state("bad");
        assert_eq!((state.status.as_str(), state.exit_code), ("created", 127));
        assert!(lab.sim.known().await.unwrap().is_empty());
        lab.engine
            .container_remove("bad", RemoveOptions::default())
            .await
            .unwrap();
    });
}

#[test]
fn policies_restart_what_they_should() {
    House::new().day(async |lab| {
    let policy =
        |name: &str, most: u32| json!({"RestartPolicy": {"Name": name, "MaximumRetryCount": most}});
    let launches = |id: &str| lab.sim.launched().iter().filter(|one| *one == id).count();

    let id = lab
        .create("thrice", &["exit", "3"], policy("on-failure", 2))
        .await;
    lab.engine.container_start("thrice").await.unwrap();
    let state = lab.until("thrice", |state| state.status == "exited").await;
    assert_eq!((state.exit_code, launches(&id)), (3, 3));

    let id = lab
        .create("fine", &["exit", "0"], policy("on-failure", 2))
        .await;
    lab.engine.container_start("fine").await.unwrap();
    assert_eq!(lab.ended("fine").await, 0);
    assert_eq!(launches(&id), 1);

    let id = lab.create("always", &["sleep"], policy("always", 0)).await;
    lab.engine.container_start("always").await.unwrap();
    lab.sim.end(&id, 0);
    within(async {
        while launches(&id) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    lab.until("always", |state| state.status == "running").await;
    // Who stops it wants it to stay stopped.
    lab.engine
        .container_stop("always", None, None)
        .await
        .unwrap();
    assert_eq!(lab.state("always").status, "exited");
    assert_eq!(launches(&id), 2);    });
}

#[test]
fn memory_that_ran_out_is_told() {
    House::new().day(async |lab| {
        let id = lab.create("hungry", &["sleep"], json!({})).await;
        lab.engine.container_start("hungry").await.unwrap();
        lab.sim.out_of_memory(&id);
        assert_eq!(lab.ended("hungry").await, 137);
        assert!(lab.state("hungry").oom_killed);
    });
}

#[test]
fn what_removes_itself_is_gone_with_its_status_told() {
    House::new().day(async |lab| {
        lab.create("brief", &["sleep"], json!({"AutoRemove": true}))
            .await;
        lab.engine.container_start("brief").await.unwrap();
        let id = lab.engine.container_inspect("brief", false).unwrap().id;
        let wait = lab.engine.container_wait("brief", WaitCondition::Removed);
        lab.sim.end(&id, 9);
        let answer = within(wait.unwrap()).await;
        assert_eq!(answer.status_code, 9);
        assert!(lab.engine.container_inspect("brief", false).is_err());
        // Both wishes contradict each other.
        let both = json!({"AutoRemove": true, "RestartPolicy": {"Name": "always"}});
        let error = lab.try_create("both", &["sleep"], both).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidParameter);
    });
}

#[test]
fn events_tell_the_story_in_order() {
    House::new().day(async |lab| {
        let mut events = lab.engine.events(EventsOptions::default()).await.unwrap();
        lab.create("told", &["sleep"], json!({})).await;
        lab.engine.container_start("told").await.unwrap();
        lab.engine.container_kill("told", None).await.unwrap();
        lab.ended("told").await;
        lab.engine
            .container_remove("told", RemoveOptions::default())
            .await
            .unwrap();
        let mut story = Vec::new();
        while story.last().is_none_or(|last| last != "destroy") {
            let event = within(events.recv()).await.unwrap().unwrap();
            if event.kind == "container" {
                story.push(event.action);
            }
        }
        assert_eq!(story, ["create", "start", "kill", "die", "destroy"]);
    });
}

#[test]
fn an_engine_takes_over_what_another_left() {
    let house = House::new();
    let id = |lab: &Lab, name: &str| lab.engine.container_inspect(name, false).unwrap().id;
    let (ended, again, pid) = house.day(async |lab| {
        for (name, policy) in [("goes-on", "no"), ("ended", "no"), ("again", "always")] {
            let host = json!({"RestartPolicy": {"Name": policy}});
            lab.create(name, &["sleep"], host).await;
            lab.engine.container_start(name).await.unwrap();
        }
        lab.create("never", &["sleep"], json!({})).await;
        (id(lab, "ended"), id(lab, "again"), lab.state("goes-on").pid)
    });
    // While nobody looks.
    house.sim.end(&ended, 7);
    house.sim.end(&again, 1);
    house.day(async |lab| {
        // Nobody is told that it runs, not even at first.
        let state = lab.state("ended");
        assert_eq!((state.status.as_str(), state.exit_code), ("exited", 7));
        let state = lab.state("goes-on");
        assert_eq!((state.status.as_str(), state.pid), ("running", pid));
        lab.until("again", |state| state.status == "running").await;
        assert_eq!(lab.state("never").status, "created");
    });
    // The host itself went down.
    house.sim.lose_everything();
    house.day(async |lab| {
        let state = lab.until("goes-on", |state| state.status == "exited").await;
        assert_eq!(state.exit_code, 255);
        lab.until("again", |state| state.status == "running").await;
    });
}

#[test]
fn an_engine_killed_between_an_act_and_its_row_is_not_believed() {
    let house = House::new();
    let id = house.day(async |lab| {
        let id = lab.create("frozen", &["sleep"], json!({})).await;
        lab.engine.container_start("frozen").await.unwrap();
        lab.create("cleared", &["exit", "3"], json!({})).await;
        lab.sim.keep_traces(true);
        lab.engine.container_start("cleared").await.unwrap();
        assert_eq!(lab.ended("cleared").await, 3);
        id
    });
    house.sim.keep_traces(false);
    let pause = house.sim.pause(&id);
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(pause)
        .unwrap();
    house.day(async |lab| {
        assert_eq!(lab.state("frozen").status, "paused");
        lab.engine.container_unpause("frozen").await.unwrap();
        lab.engine.container_pause("frozen").await.unwrap();
        // What its last run left is not in the way of the next.
        assert!(lab.engine.container_start("cleared").await.unwrap());
    });
    let resume = house.sim.resume(&id);
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(resume)
        .unwrap();
    house.day(async |lab| {
        assert_eq!(lab.state("frozen").status, "running");
        lab.engine.container_kill("frozen", None).await.unwrap();
        assert_eq!(lab.ended("frozen").await, 137);
    });
}

#[test]
fn runs_that_nobody_owns_are_swept() {
    let house = House::new();
    house.day(async |lab| {
        lab.create("mine", &["sleep"], json!({})).await;
        lab.engine.container_start("mine").await.unwrap();
    });
    // An engine with a state of its own knows nothing of it.
    House::beside(house.sim.clone()).day(async |lab| {
        within(async {
            while !lab.sim.known().await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
    // For the first one its container died without a witness.
    house.day(async |lab| {
        let state = lab.until("mine", |state| state.status == "exited").await;
        assert_eq!(state.exit_code, 255);
    });
}

#[test]
fn an_engine_that_takes_its_containers_along_starts_them_again() {
    let house = House::new();
    house.day(async |lab| {
        for (name, policy) in [
            ("plain", "no"),
            ("kept", "unless-stopped"),
            ("left", "unless-stopped"),
        ] {
            let host = json!({"RestartPolicy": {"Name": policy}});
            lab.create(name, &["sleep"], host).await;
            lab.engine.container_start(name).await.unwrap();
        }
        lab.engine.container_stop("left", None, None).await.unwrap();
        within(lab.engine.stop_containers()).await;
        for name in ["plain", "kept", "left"] {
            assert_eq!(lab.state(name).status, "exited", "{name}");
        }
    });
    house.day(async |lab| {
        lab.until("kept", |state| state.status == "running").await;
        for name in ["plain", "left"] {
            assert_eq!(lab.state(name).status, "exited", "{name}");
        }
    });
}
