//! Random orders given by several clients at once, checked against the model of what Docker would
//! say; between them keepers and engines are killed, some of the engines in the middle of orders.
//!
//! `CORTEN_MODEL_OPS` asks for more orders than a test needs: `cargo xtask model`.

use std::sync::atomic::{AtomicUsize, Ordering};

use dockerapi::{ExecCreate, ExecStart};
use engine::{ErrorKind, RemoveOptions, Result, WaitCondition};
use futures_util::future::{Either, join_all, select};
use proptest::prelude::*;
use rules::{Answer, Is, Order, expected, interrupted, settles};
use serde_json::json;
use tokio::sync::Notify;

use super::{House, Lab, within};

/// Clients at work at the same time, each with containers of its own.
const CLIENTS: usize = 4;
const CONTAINERS: usize = 2;
/// Orders that were answered, and engines that were killed in the middle of some.
static ANSWERED: AtomicUsize = AtomicUsize::new(0);
static KILLED: AtomicUsize = AtomicUsize::new(0);

/// The life of one engine.
#[derive(Debug, Clone)]
struct Day {
    /// Every client's orders.
    orders: Vec<Vec<(usize, Order)>>,
    /// After how many of them, of all clients, the engine is killed; beyond them it is at rest.
    killed: usize,
}

fn days() -> impl Strategy<Value = Vec<Day>> {
    let most = if asked().is_some() { 100 } else { 12 };
    let order = (0..CONTAINERS, any::<u64>().prop_map(Order::of));
    let orders = prop::collection::vec(prop::collection::vec(order, 0..most), CLIENTS);
    let day = (orders, 0..most * 2).prop_map(|(orders, killed)| Day { orders, killed });
    prop::collection::vec(day, 1..4)
}

/// What one client knows of one of its containers.
#[derive(Debug, Clone, Copy)]
struct Known {
    is: Is,
    /// By the second of its names.
    renamed: bool,
    /// What the engine was doing with it when it was killed.
    open: Option<Order>,
}

const NOTHING: Known = Known {
    is: Is::Absent,
    renamed: false,
    open: None,
};

fn name(client: usize, number: usize, renamed: bool) -> String {
    let suffix = if renamed { "-renamed" } else { "" };
    format!("client{client}-{number}{suffix}")
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

/// `other` is the name for [`Order::Rename`].
async fn obey(lab: &Lab, name: &str, other: &str, order: Order) -> Answer {
    let engine = &lab.engine;
    match order {
        Order::Create => answer(lab.try_create(name, &["sleep"], json!({})).await, |_| true),
        Order::Start => answer(engine.container_start(name).await, |done| done),
        Order::Stop => answer(engine.container_stop(name, None, None).await, |done| done),
        Order::Restart => {
            let done = engine.container_restart(name, None, None).await;
            answer(done, |()| true)
        }
        Order::Kill => answer(engine.container_kill(name, None).await, |()| true),
        Order::Pause => answer(engine.container_pause(name).await, |()| true),
        Order::Resume => answer(engine.container_unpause(name).await, |()| true),
        Order::Rename => answer(engine.container_rename(name, other).await, |()| true),
        Order::RenameTaken => answer(engine.container_rename(name, "taken").await, |()| true),
        Order::Exec => answer(exec(lab, name).await, |()| true),
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

async fn exec(lab: &Lab, name: &str) -> Result<()> {
    let body = ExecCreate {
        cmd: vec!["exit".into(), "0".into()],
        ..ExecCreate::default()
    };
    let id = lab.engine.exec_create(name, body).await?;
    let start = ExecStart {
        detach: true,
        ..ExecStart::default()
    };
    lab.engine.exec_start_detached(&id, &start).await
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
    match lab.engine.container_inspect(name, false) {
        Ok(found) => Is::of(&found.state.status).unwrap(),
        Err(_) => Is::Absent,
    }
}

/// Finds out what a killed engine made of the orders that it was at.
async fn resume(lab: &Lab, client: usize, number: usize, known: &mut Known) {
    let Some(order) = known.open else {
        return;
    };
    let named = |renamed| name(client, number, renamed);
    if order == Order::Rename && shown(lab, &named(!known.renamed)) != Is::Absent {
        known.renamed = !known.renamed;
    }
    let name = named(known.renamed);
    let is = shown(lab, &name);
    let may = interrupted(known.is, order);
    assert!(
        may.contains(&is),
        "{name} is {is:?} after {order:?} of {may:?}"
    );
    known.is = is;
    if !settles(order) {
        // This engine may be killed in the middle of it, too.
        known.open = Some(Order::Remove { force: true });
        let options = RemoveOptions {
            force: true,
            volumes: false,
        };
        let removed = within(lab.engine.container_remove(&name, options)).await;
        let removed = answer(removed, |()| true);
        assert!(
            matches!(removed, Answer::Done | Answer::NotFound),
            "{removed:?}"
        );
        known.is = Is::Absent;
    }
    known.open = None;
}

/// One client's day: every answer and every state is held against the model.
async fn work(
    lab: &Lab,
    client: usize,
    orders: &[(usize, Order)],
    model: &mut [Known; CONTAINERS],
    begun: impl Fn(),
) {
    for (number, known) in model.iter_mut().enumerate() {
        resume(lab, client, number, known).await;
    }
    for (number, order) in orders {
        let known = &mut model[*number];
        let named = |renamed| name(client, *number, renamed);
        let (wanted, then) = expected(known.is, *order);
        known.open = Some(*order);
        begun();
        let (now, other) = (named(known.renamed), named(!known.renamed));
        let given = within(obey(lab, &now, &other, *order)).await;
        assert_eq!(given, wanted, "{order:?} when {:?}", known.is);
        ANSWERED.fetch_add(1, Ordering::Relaxed);
        known.open = None;
        known.is = then;
        known.renamed ^= *order == Order::Rename && given == Answer::Done;
        for (number, known) in model.iter().enumerate() {
            let name = name(client, number, known.renamed);
            assert_eq!(shown(lab, &name), known.is, "{name} after {order:?}");
        }
    }
}

/// All clients' day, until they are done or the engine is to be killed.
async fn day(lab: &Lab, day: &Day, models: &mut [[Known; CONTAINERS]; CLIENTS]) {
    if lab.engine.container_inspect("taken", false).is_err() {
        lab.create("taken", &["sleep"], json!({})).await;
    }
    let (begun, enough) = (AtomicUsize::new(0), Notify::new());
    let one_more = || {
        if begun.fetch_add(1, Ordering::Relaxed) == day.killed {
            enough.notify_one();
        }
    };
    let clients = day.orders.iter().zip(models.iter_mut()).enumerate();
    let work = clients.map(|(client, (orders, model))| work(lab, client, orders, model, &one_more));
    let work = std::pin::pin!(join_all(work));
    let killed = std::pin::pin!(enough.notified());
    if let Either::Right(_) = select(work, killed).await {
        KILLED.fetch_add(1, Ordering::Relaxed);
    }
}

fn asked() -> Option<usize> {
    std::env::var("CORTEN_MODEL_OPS").ok()?.parse().ok()
}

#[test]
fn containers_do_what_the_rules_say() {
    let config = ProptestConfig {
        cases: 16,
        ..ProptestConfig::default()
    };
    let aim = asked().unwrap_or_default();
    loop {
        proptest!(config.clone(), |(days in days())| {
            let house = House::new();
            let mut models = [[NOTHING; CONTAINERS]; CLIENTS];
            for one in &days {
                house.day(async |lab| day(lab, one, &mut models).await);
            }
        });
        if ANSWERED.load(Ordering::Relaxed) >= aim {
            break;
        }
    }
    let (answered, killed) = (
        ANSWERED.load(Ordering::Relaxed),
        KILLED.load(Ordering::Relaxed),
    );
    println!("{answered} orders were answered, {killed} engines killed in the middle of some");
}
