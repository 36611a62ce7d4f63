//! Commits that something comes in between of.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use engine::{CommitOptions, EventsOptions};
use serde_json::json;

use crate::{House, within};

fn options(container: &str) -> CommitOptions {
    CommitOptions {
        container: container.into(),
        pause: true,
        ..CommitOptions::default()
    }
}

#[test]
fn a_container_whose_commit_nobody_waits_for_goes_on() {
    House::new().day(async |lab| {
        lab.create("left", &["sleep"], json!({})).await;
        lab.engine.container_start("left").await.unwrap();
        let mut events = lab.engine.events(EventsOptions::default()).await.unwrap();
        {
            let mut commit = pin!(lab.engine.container_commit(options("left")));
            let mut context = Context::from_waker(Waker::noop());
            assert!(matches!(commit.as_mut().poll(&mut context), Poll::Pending));
        }
        let mut told = Vec::new();
        while told.last().is_none_or(|action| action != "unpause") {
            told.push(within(events.recv()).await.unwrap().unwrap().action);
        }
        assert_eq!(told, ["pause", "create", "commit", "unpause"]);
        assert_eq!(lab.state("left").status, "running");
    });
}
