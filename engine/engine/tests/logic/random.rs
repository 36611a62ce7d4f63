//! Random orders given to two containers, checked against a model of what Docker would say.

use engine::{ErrorKind, RemoveOptions, Result};
use proptest::prelude::*;
use serde_json::json;

use super::{House, Lab, within};

const NAMES: [&str; 2] = ["one", "two"];

#[derive(Debug, Clone, Copy)]
enum Order {
    Create,
    Start,
    Stop,
    Kill,
    Pause,
    Resume,
    Remove { force: bool },
    Reopen,
}

/// What a container is by the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Absent,
    Created,
    Running,
    Paused,
    Exited,
}

/// What an order comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Done,
    NotModified,
    NotFound,
    Conflict,
}

/// The rules: what is, and what is ordered → the answer, and what is then.
fn expected(is: Is, order: Order) -> (Answer, Is) {
    use Answer::{Conflict, Done, NotFound, NotModified};
    match (order, is) {
        (Order::Reopen, _) => unreachable!("it ends a day"),
        (Order::Create, Is::Absent) => (Done, Is::Created),
        (Order::Create, is) => (Conflict, is),
        (_, Is::Absent) => (NotFound, Is::Absent),
        (Order::Start, Is::Created | Is::Exited) => (Done, Is::Running),
        (Order::Start, Is::Running) => (NotModified, Is::Running),
        (Order::Start, Is::Paused) => (Conflict, Is::Paused),
        (Order::Stop, Is::Created | Is::Exited) => (NotModified, is),
        (Order::Stop, Is::Running | Is::Paused) => (Done, Is::Exited),
        (Order::Kill, Is::Running | Is::Paused) => (Done, Is::Exited),
        (Order::Kill, is) => (Conflict, is),
        (Order::Pause, Is::Running) => (Done, Is::Paused),
        (Order::Pause, is) => (Conflict, is),
        (Order::Resume, Is::Paused) => (Done, Is::Running),
        (Order::Resume, is) => (Conflict, is),
        (Order::Remove { .. }, Is::Created | Is::Exited) => (Done, Is::Absent),
        (Order::Remove { force: true }, _) => (Done, Is::Absent),
        (Order::Remove { force: false }, is) => (Conflict, is),
    }
}

fn orders() -> impl Strategy<Value = Vec<(usize, Order)>> {
    let order = prop_oneof![
        3 => Just(Order::Create),
        4 => Just(Order::Start),
        2 => Just(Order::Stop),
        2 => Just(Order::Kill),
        2 => Just(Order::Pause),
        2 => Just(Order::Resume),
        1 => any::<bool>().prop_map(|force| Order::Remove { force }),
        1 => Just(Order::Reopen),
    ];
    prop::collection::vec((0..NAMES.len(), order), 1..24)
}

fn answer<T>(result: Result<T>, done: impl FnOnce(T) -> bool) -> Answer {
    match result.map(done) {
        Ok(true) => Answer::Done,
        Ok(false) => Answer::NotModified,
        Err(error) if error.kind == ErrorKind::NotFound => Answer::NotFound,
        Err(error) if error.kind == ErrorKind::Conflict => Answer::Conflict,
        Err(error) => panic!("{error}"),
    }
}

async fn obey(lab: &Lab, name: &str, order: Order) -> Answer {
    let engine = &lab.engine;
    match order {
        Order::Create => answer(lab.try_create(name, &["sleep"], json!({})).await, |_| true),
        Order::Start => answer(engine.container_start(name).await, |done| done),
        Order::Stop => answer(engine.container_stop(name, None, None).await, |done| done),
        Order::Kill => answer(engine.container_kill(name, None).await, |()| true),
        Order::Pause => answer(engine.container_pause(name).await, |()| true),
        Order::Resume => answer(engine.container_unpause(name).await, |()| true),
        Order::Remove { force } => {
            let options = RemoveOptions {
                force,
                volumes: false,
            };
            answer(engine.container_remove(name, options).await, |()| true)
        }
        Order::Reopen => unreachable!("it ends a day"),
    }
}

fn shown(lab: &Lab, name: &str) -> Is {
    let Ok(found) = lab.engine.container_inspect(name, false) else {
        return Is::Absent;
    };
    match found.state.status.as_str() {
        "created" => Is::Created,
        "running" => Is::Running,
        "paused" => Is::Paused,
        "exited" => Is::Exited,
        other => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn containers_do_what_the_rules_say(orders in orders()) {
        let house = House::new();
        let mut model = [Is::Absent; NAMES.len()];
        // A day ends where an engine does.
        for day in orders.split(|(_, order)| matches!(order, Order::Reopen)) {
            house.day(async |lab| {
                for (number, order) in day {
                    let name = NAMES[*number];
                    let (wanted, then) = expected(model[*number], *order);
                    let given = within(obey(lab, name, *order)).await;
                    assert_eq!(given, wanted, "{order:?} when {:?}", model[*number]);
                    model[*number] = then;
                    for (name, is) in NAMES.iter().zip(model) {
                        assert_eq!(shown(lab, name), is, "{name} after {order:?}");
                    }
                }
                for (name, is) in NAMES.iter().zip(model) {
                    assert_eq!(shown(lab, name), is, "{name} at the end of a day");
                }
            });
        }
    }
}
