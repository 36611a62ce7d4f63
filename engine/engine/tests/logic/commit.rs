//! Commits that something comes in between of.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use engine::{CommitOptions, ErrorKind, EventsOptions, RemoveOptions};
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

#[test]
fn what_is_removed_meanwhile_becomes_no_image() {
    House::new().day(async |lab| {
        lab.create("gone", &["sleep"], json!({})).await;
        let data = lab.engine.container_inspect("gone", false).unwrap();
        let upper = data.graph_driver.data.unwrap()["UpperDir"].clone();
        // The removal is faster than the packing of these.
        let content = vec![7; 1 << 20];
        for number in 0..64 {
            std::fs::write(format!("{upper}/{number:02}"), &content).unwrap();
        }
        let images = || {
            let all = engine::ImageListOptions {
                all: true,
                ..engine::ImageListOptions::default()
            };
            let list = lab.engine.image_list(all, &engine::Filters::default());
            list.unwrap().len()
        };
        let before = images();
        let (committed, removed) = tokio::join!(
            lab.engine.container_commit(options("gone")),
            lab.engine
                .container_remove("gone", RemoveOptions::default()),
        );
        removed.unwrap();
        assert_eq!(committed.unwrap_err().kind, ErrorKind::Conflict);
        assert_eq!(images(), before);
    });
}
