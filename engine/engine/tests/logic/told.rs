//! Events: none is lost and none is seen twice, however slowly they are read, and whatever becomes
//! of the engine meanwhile.

use dockerapi::Event;
use engine::{EventsOptions, Lines, Result};
use serde_json::json;

use crate::{House, Lab, within};

const ALL: usize = 100_000;

async fn tell(lab: &Lab, count: usize) {
    for _ in 0..count {
        lab.engine
            .container_kill("told", Some("WINCH"))
            .await
            .unwrap();
    }
}

async fn read(events: &mut Lines<Result<Event>>, count: usize, seen: &mut Vec<i64>) {
    let wanted = seen.len() + count;
    while seen.len() < wanted {
        let event = within(events.recv()).await.expect("no end").unwrap();
        if event.action == "kill" {
            seen.push(event.time_nano);
        }
    }
}

fn since(time: i64) -> EventsOptions {
    EventsOptions {
        since: Some(time.into()),
        ..EventsOptions::default()
    }
}

#[test]
fn a_slow_listener_gets_all_of_many_and_goes_on_with_another_engine() {
    let house = House::new();
    let mut seen = Vec::new();
    let first = house.day(async |lab| {
        lab.create("told", &["sleep"], json!({})).await;
        lab.engine.container_start("told").await.unwrap();
        let mut events = lab.engine.events(EventsOptions::default()).await.unwrap();
        // Nothing is read meanwhile.
        tell(lab, ALL / 2).await;
        read(&mut events, ALL / 5, &mut seen).await;
        seen.len()
    });
    house.day(async |lab| {
        tell(lab, ALL - ALL / 2).await;
        // The one after the last that was seen.
        let options = since(seen[first - 1] + 1);
        let mut events = lab.engine.events(options).await.unwrap();
        read(&mut events, ALL - first, &mut seen).await;
        assert!(seen.is_sorted_by(|a, b| a < b), "in order, none twice");
        // Asked from the last one on, that one comes again.
        let mut again = lab.engine.events(since(seen[ALL - 1])).await.unwrap();
        let mut last = Vec::new();
        read(&mut again, 1, &mut last).await;
        assert_eq!(last, seen[ALL - 1..]);
    });
}

#[test]
fn a_listener_that_events_overtake_is_told_so() {
    let house = House::new();
    house.day(async |lab| {
        lab.create("told", &["sleep"], json!({})).await;
        lab.engine.container_start("told").await.unwrap();
        let mut events = lab.engine.events(EventsOptions::default()).await.unwrap();
        // More than a listener's place in memory.
        tell(lab, 3000).await;
        let live = engine::Live {
            events: engine::EventLimits {
                bytes: 1 << 10,
                age: None,
            },
            ..engine::Live::default()
        };
        lab.engine.reload(live).await;
        tell(lab, 3000).await;
        let error = within(async {
            loop {
                if let Err(error) = events.recv().await.expect("no silent end") {
                    return error;
                }
            }
        })
        .await;
        assert!(error.message.contains("no longer kept"), "{error}");
    });
}
