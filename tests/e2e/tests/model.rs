//! Random orders of several clients at once to an engine on Linux, checked against the model of
//! what Docker would say; daemons are killed in the middle of orders, keepers between them. Then
//! nothing may be left: the lab looks when it ends.
//!
//! `CORTEN_E2E_MODEL_OPS` asks for more orders than a test needs: `cargo xtask model`;
//! `CORTEN_E2E_MODEL_SEED` for a series that was told of before.
#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails loudly"
)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use e2e::{Lab, root, signal, wait_for};
use rules::{Answer, Is, Order, Random, expected, interrupted, settles};

const CLIENTS: usize = 4;
/// Of each client: one at the bridge with a published port and a volume, one without a network.
const CONTAINERS: usize = 2;
const BODIES: [&str; CONTAINERS] = [
    r#"{"Image":"bb","Cmd":["sleep","100000"],"Volumes":{"/v":{}},"ExposedPorts":{"80/tcp":{}},
        "HostConfig":{"Init":true,"PortBindings":{"80/tcp":[{"HostPort":""}]}}}"#,
    r#"{"Image":"bb","Cmd":["sleep","100000"],"HostConfig":{"Init":true,"NetworkMode":"none"}}"#,
];
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client knows of one of its containers.
#[derive(Debug, Clone)]
struct Known {
    /// The one it has, and the one for its next change.
    names: [String; 2],
    body: &'static str,
    is: Is,
    /// What the engine was doing with it when it was killed.
    open: Option<Order>,
}

/// An order without an answer: the engine is gone.
struct Gone;

/// One engine's life as its clients see it.
struct Day<'a> {
    lab: &'a Lab,
    daemon: u32,
    begun: AtomicUsize,
    /// After so many orders the daemon is killed.
    killed: usize,
    over: AtomicBool,
}

impl Day<'_> {
    /// A client counts an order that it is about to give; the one whose turn it is kills the daemon
    /// a random while after, when this and others' orders are on their way.
    fn begin(&self, pause: u64) {
        if self.begun.fetch_add(1, Ordering::Relaxed) == self.killed {
            let pid = self.daemon;
            std::thread::spawn(move || {
                // The moment is the test, not a wait for something.
                std::thread::sleep(Duration::from_micros(pause));
                signal(pid, "KILL");
            });
        }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<(u16, String), Gone> {
        let answer = self.lab.attempt(method, path, body).ok_or(Gone)?;
        Ok((answer.status, answer.body))
    }

    fn order(&self, method: &str, path: &str, body: &str) -> Result<Answer, Gone> {
        let (status, body) = self.ask(method, path, body)?;
        Ok(match status {
            200 | 201 | 204 => Answer::Done,
            304 => Answer::NotModified,
            404 => Answer::NotFound,
            409 => Answer::Conflict,
            _ => panic!("{method} {path}: {status} {body}"),
        })
    }

    /// The state and the pid, or the word for what it is in passing only.
    fn state(&self, name: &str) -> Result<Result<(Is, u32), String>, Gone> {
        let (status, body) = self.ask("GET", &format!("/containers/{name}/json"), "")?;
        if status == 404 {
            return Ok(Ok((Is::Absent, 0)));
        }
        let body: serde_json::Value = serde_json::from_str(&body).map_err(|_| Gone)?;
        let state = &body["State"];
        let pid = u32::try_from(state["Pid"].as_u64().unwrap_or_default()).expect("a pid");
        Ok(Is::of(state["Status"].as_str().unwrap_or_default()).map(|is| (is, pid)))
    }

    /// All that the engine says of the state.
    fn told(&self, name: &str) -> Result<String, Gone> {
        let (_, body) = self.ask("GET", &format!("/containers/{name}/json"), "")?;
        let body: serde_json::Value = serde_json::from_str(&body).map_err(|_| Gone)?;
        Ok(format!("{} {}", body["Id"], body["State"]))
    }

    fn shown(&self, name: &str) -> Result<(Is, u32), Gone> {
        Ok(self.state(name)?.expect("a state to stay in"))
    }

    /// The state of a container whose removal another engine may have begun.
    fn settled(&self, name: &str) -> Result<Is, Gone> {
        let mut state = self.state(name)?;
        wait_for(PATIENCE, || {
            let word = state.as_ref().err();
            if word.is_none_or(|word| word != "removing") {
                return true;
            }
            match self.state(name) {
                Ok(now) => state = now,
                Err(Gone) => return true,
            }
            false
        });
        match state {
            Ok((is, _)) => Ok(is),
            // Killed meanwhile, or it is what no container stays in.
            Err(word) => self
                .state(name)?
                .map(|(is, _)| is)
                .map_err(|_| panic!("{name}: {word}")),
        }
    }

    fn obey(&self, known: &Known, order: Order) -> Result<Answer, Gone> {
        let [name, other] = &known.names;
        let post = |what: &str| self.order("POST", &format!("/containers/{name}/{what}"), "");
        match order {
            Order::Create => self.order(
                "POST",
                &format!("/containers/create?name={name}"),
                known.body,
            ),
            Order::Start => post("start"),
            Order::Stop => post("stop?t=30"),
            Order::Restart => post("restart?t=30"),
            Order::Kill => {
                let answer = post("kill")?;
                if answer == Answer::Done {
                    // It is answered when the signal is sent.
                    post("wait")?;
                }
                Ok(answer)
            }
            Order::Pause => post("pause"),
            Order::Resume => post("unpause"),
            Order::Rename => post(&format!("rename?name={other}")),
            Order::RenameTaken => post("rename?name=taken"),
            Order::Exec => self.exec(name),
            Order::Remove { force } => {
                let path = format!("/containers/{name}?v=1&force={force}");
                self.order("DELETE", &path, "")
            }
            Order::LoseKeeper => self.lose_keeper(name),
        }
    }

    fn exec(&self, name: &str) -> Result<Answer, Gone> {
        let path = format!("/containers/{name}/exec");
        let (status, body) = self.ask("POST", &path, r#"{"Cmd":["true"]}"#)?;
        match status {
            201 => {}
            404 => return Ok(Answer::NotFound),
            409 => return Ok(Answer::Conflict),
            _ => panic!("{path}: {status} {body}"),
        }
        let made: serde_json::Value = serde_json::from_str(&body).map_err(|_| Gone)?;
        let id = made["Id"].as_str().unwrap_or_default().to_owned();
        let answer = self.order("POST", &format!("/exec/{id}/start"), r#"{"Detach":true}"#)?;
        assert_eq!(answer, Answer::Done, "exec in {name}");
        let mut ended = Ok(String::new());
        wait_for(PATIENCE, || {
            ended = self
                .ask("GET", &format!("/exec/{id}/json"), "")
                .map(|(_, body)| body);
            ended
                .as_ref()
                .map_or(true, |body| body.contains("\"Running\":false"))
        });
        let ended = ended?;
        assert!(ended.contains("\"ExitCode\":0"), "exec in {name}: {ended}");
        Ok(answer)
    }

    /// A keeper is the parent of its container's first process.
    fn lose_keeper(&self, name: &str) -> Result<Answer, Gone> {
        let (is, pid) = self.shown(name)?;
        if matches!(is, Is::Running | Is::Paused) {
            signal(e2e::parent(pid).expect("a keeper"), "KILL");
            self.ask("POST", &format!("/containers/{name}/wait"), "")?;
        }
        Ok(Answer::Done)
    }

    /// Finds out what a killed engine made of the order that it was at.
    fn resume(&self, known: &mut Known) -> Result<(), Gone> {
        let Some(order) = known.open else {
            return Ok(());
        };
        if order == Order::Rename && self.shown(&known.names[1])?.0 != Is::Absent {
            known.names.swap(0, 1);
        }
        let name = &known.names[0];
        let is = self.settled(name)?;
        let may = interrupted(known.is, order);
        if !may.contains(&is) {
            panic!("{known:?} is {}", self.told(name)?);
        }
        known.is = is;
        if !settles(order) {
            // This engine may be killed in the middle of it, too.
            known.open = Some(Order::Remove { force: true });
            let removed = self.order("DELETE", &format!("/containers/{name}?v=1&force=1"), "")?;
            assert!(
                matches!(removed, Answer::Done | Answer::NotFound),
                "{name}: {removed:?}"
            );
            known.is = Is::Absent;
        }
        known.open = None;
        Ok(())
    }

    /// Gives orders until the engine is killed; every answer and state is held against the model.
    fn work(&self, containers: &mut [Known], random: &mut Random) -> Result<(), Gone> {
        for known in containers.iter_mut() {
            self.resume(known)?;
        }
        while !self.over.load(Ordering::Relaxed) {
            let at = random.below(containers.len());
            let (order, pause) = (Order::of(random.number()), random.number() % 30_000);
            let known = &mut containers[at];
            known.open = Some(order);
            self.begin(pause);
            let (wanted, then) = expected(known.is, order);
            let given = self.obey(known, order)?;
            if given != wanted {
                let told = self.told(&known.names[0])?;
                panic!("{given:?} to {order:?}, not {wanted:?}: {known:?} is {told}");
            }
            known.open = None;
            known.is = then;
            if order == Order::Rename && given == Answer::Done {
                known.names.swap(0, 1);
            }
            for known in containers.iter() {
                let (is, _) = self.shown(&known.names[0])?;
                if is != known.is {
                    panic!(
                        "{order:?} at {at}: {known:?} is {}",
                        self.told(&known.names[0])?
                    );
                }
            }
        }
        Ok(())
    }
}

fn clients() -> Vec<Vec<Known>> {
    let known = |client: usize, number: usize| Known {
        names: ["", "-renamed"].map(|suffix| format!("client{client}-{number}{suffix}")),
        body: BODIES[number],
        is: Is::Absent,
        open: None,
    };
    let of_client = |client| {
        (0..CONTAINERS)
            .map(|number| known(client, number))
            .collect()
    };
    (0..CLIENTS).map(of_client).collect()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn containers_do_what_the_rules_say() {
    if !root() {
        return;
    }
    let aim = number("CORTEN_E2E_MODEL_OPS").unwrap_or(300);
    let seed = number("CORTEN_E2E_MODEL_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("CORTEN_E2E_MODEL_SEED={seed}");
    let mut random = Random::new(seed);
    let mut lab = Lab::new();
    lab.ok(&["create", "--name", "taken", "bb", "true"]);
    let mut models = clients();
    let (mut given, mut engines) = (0, 0);
    while given < aim {
        let day = Day {
            lab: &lab,
            daemon: lab.daemon_pid(),
            begun: AtomicUsize::new(0),
            killed: 20 + random.below(160),
            over: AtomicBool::new(false),
        };
        std::thread::scope(|scope| {
            for model in &mut models {
                let (day, mut random) = (&day, Random::new(random.number()));
                scope.spawn(move || {
                    // One that fails takes the others along.
                    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        day.work(model, &mut random)
                    }));
                    day.over.store(true, Ordering::Relaxed);
                    if let Err(panic) = ended {
                        std::panic::resume_unwind(panic);
                    }
                });
            }
        });
        given += u64::try_from(day.begun.into_inner()).expect("a count");
        // Were it not killed, a client would have waited for an answer in vain.
        lab.bury_daemon();
        lab.start_daemon();
        engines += 1;
    }
    eprintln!("{given} orders, {engines} daemons killed");
}
