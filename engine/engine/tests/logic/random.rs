//! Random orders given by several clients at once, checked against a model of what Docker would say;
//! between them keepers and engines are killed.

use engine::{ErrorKind, RemoveOptions, Result, WaitCondition};
use proptest::prelude::*;
use serde_json::json;

use super::{House, Lab, within};

/// Clients at work at the same time, each with containers of its own.
const CLIENTS: usize = 4;
const CONTAINERS: usize = 2;

#[derive(Debug, Clone, Copy)]
enum Order {
    Create,
    Start,
    Stop,
    Kill,
    Pause,
    Resume,
    Remove {
        force: bool,
    },
    /// Its keeper is killed: no answer is asked for.
    LoseKeeper,
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
        (Order::LoseKeeper, Is::Running | Is::Paused) => (Done, Is::Exited),
        (Order::LoseKeeper, is) => (Done, is),
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

/// What one client orders in the life of one engine.
fn orders() -> impl Strategy<Value = Vec<(usize, Order)>> {
    let order = prop_oneof![
        3 => Just(Order::Create),
        4 => Just(Order::Start),
        2 => Just(Order::Stop),
        2 => Just(Order::Kill),
        2 => Just(Order::Pause),
        2 => Just(Order::Resume),
        1 => any::<bool>().prop_map(|force| Order::Remove { force }),
        1 => Just(Order::LoseKeeper),
    ];
    prop::collection::vec((0..CONTAINERS, order), 0..12)
}

/// Lives of engines: in each, every client's orders.
fn days() -> impl Strategy<Value = Vec<Vec<Vec<(usize, Order)>>>> {
    prop::collection::vec(prop::collection::vec(orders(), CLIENTS), 1..4)
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
        Order::LoseKeeper => {
            lose_keeper(lab, name).await;
            Answer::Done
        }
    }
}

async fn lose_keeper(lab: &Lab, name: &str) {
    if matches!(shown(lab, name), Is::Running | Is::Paused) {
        let id = lab.engine.container_inspect(name, false).unwrap().id;
        let ended = lab.engine.container_wait(name, WaitCondition::NotRunning);
        lab.sim.end(&id, 137);
        ended.unwrap().await;
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

/// One client's day: every answer and every state is held against the model.
async fn work(lab: &Lab, client: usize, orders: &[(usize, Order)], model: &mut [Is; CONTAINERS]) {
    let name = |number: usize| format!("client{client}-{number}");
    for (number, order) in orders {
        let (wanted, then) = expected(model[*number], *order);
        let given = within(obey(lab, &name(*number), *order)).await;
        assert_eq!(given, wanted, "{order:?} when {:?}", model[*number]);
        model[*number] = then;
        for (number, is) in model.iter().enumerate() {
            assert_eq!(
                shown(lab, &name(number)),
                *is,
                "{} after {order:?}",
                name(number)
            );
        }
    }
    for (number, is) in model.iter().enumerate() {
        assert_eq!(
            shown(lab, &name(number)),
            *is,
            "{} at the end of a day",
            name(number)
        );
    }
}

/// `CORTEN_RANDOM_CASES` asks for more of them than a test needs.
fn cases() -> u32 {
    let asked = std::env::var("CORTEN_RANDOM_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(16)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn containers_do_what_the_rules_say(days in days()) {
        let house = House::new();
        let mut models = [[Is::Absent; CONTAINERS]; CLIENTS];
        for day in &days {
            house.day(async |lab| {
                let clients = day.iter().zip(&mut models).enumerate();
                let work = clients.map(|(client, (orders, model))| work(lab, client, orders, model));
                futures_util::future::join_all(work).await;
            });
        }
    }
}
