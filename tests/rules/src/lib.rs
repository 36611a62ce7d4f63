//! What Docker says to orders about one container, and what the container is then: a model that is
//! held against an engine, on whatever platform it stands. Whoever drives the engine gives the
//! orders and compares.

/// What may be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A container that runs until a signal ends it.
    Create,
    /// Its first run or the next.
    Start,
    /// By its stop signal, which it hears.
    Stop,
    /// Stop, if it runs, and start.
    Restart,
    /// By SIGKILL.
    Kill,
    /// All its processes are frozen.
    Pause,
    /// They go on.
    Resume,
    /// To a name that is free.
    Rename,
    /// To a name that another container has.
    RenameTaken,
    /// A program that ends at once with status 0.
    Exec,
    /// With its volumes.
    Remove {
        /// Whatever it is, after a kill.
        force: bool,
    },
    /// Its keeper is killed: the engine is not asked.
    LoseKeeper,
}

impl Order {
    /// The order that a random number stands for; small numbers are those that come first.
    #[must_use]
    pub fn of(random: u64) -> Self {
        const WEIGHTS: [(u64, Order); 13] = [
            (3, Order::Create),
            (4, Order::Start),
            (2, Order::Stop),
            (1, Order::Restart),
            (2, Order::Kill),
            (2, Order::Pause),
            (2, Order::Resume),
            (1, Order::Rename),
            (1, Order::RenameTaken),
            (1, Order::Exec),
            (1, Order::Remove { force: false }),
            (1, Order::Remove { force: true }),
            (1, Order::LoseKeeper),
        ];
        let whole: u64 = WEIGHTS.iter().map(|(weight, _)| weight).sum();
        let mut left = random % whole;
        for (weight, order) in WEIGHTS {
            if left < weight {
                return order;
            }
            left -= weight;
        }
        Order::Create
    }
}

/// What a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is {
    /// Not there, or not any more.
    Absent,
    /// Never started.
    Created,
    /// Started and not ended.
    Running,
    /// Running, but frozen.
    Paused,
    /// Ended.
    Exited,
}

impl Is {
    /// By the word that `inspect` has for it.
    ///
    /// # Errors
    /// The word, when a container is only that in passing.
    pub fn of(status: &str) -> Result<Self, String> {
        match status {
            "created" => Ok(Is::Created),
            "running" => Ok(Is::Running),
            "paused" => Ok(Is::Paused),
            "exited" => Ok(Is::Exited),
            other => Err(other.to_owned()),
        }
    }
}

/// What an order comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200, 201 or 204.
    Done,
    /// 304: it is so already.
    NotModified,
    /// 404: there is no such container.
    NotFound,
    /// 409: not as it is now, or not under that name.
    Conflict,
}

/// What is, and what is ordered: the answer, and what is then. For [`Order::RenameTaken`] the other
/// container is there.
#[must_use]
pub fn expected(is: Is, order: Order) -> (Answer, Is) {
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
        (Order::Restart, _) => (Done, Is::Running),
        (Order::Kill, Is::Running | Is::Paused) => (Done, Is::Exited),
        (Order::Kill, is) => (Conflict, is),
        (Order::Pause, Is::Running) => (Done, Is::Paused),
        (Order::Pause, is) => (Conflict, is),
        (Order::Resume, Is::Paused) => (Done, Is::Running),
        (Order::Resume, is) => (Conflict, is),
        (Order::Rename, is) => (Done, is),
        (Order::RenameTaken, is) => (Conflict, is),
        (Order::Exec, Is::Running) => (Done, Is::Running),
        (Order::Exec, is) => (Conflict, is),
        (Order::Remove { .. }, Is::Created | Is::Exited) => (Done, Is::Absent),
        (Order::Remove { force: true }, _) => (Done, Is::Absent),
        (Order::Remove { force: false }, is) => (Conflict, is),
    }
}

/// What a container may be found as by the next engine, when one was killed in the middle of an
/// order: what it was, what it should have become, or what lies between.
#[must_use]
pub fn interrupted(is: Is, order: Order) -> Vec<Is> {
    let (_, then) = expected(is, order);
    let between = match order {
        // Its end comes before what follows; a start that nobody can take over is ended.
        Order::Restart | Order::Start | Order::Remove { force: true } if is != Is::Absent => {
            Some(Is::Exited)
        }
        _ => None,
    };
    // A container that is ended while it is frozen runs for a moment.
    let thawed = (is == Is::Paused && then != Is::Paused).then_some(Is::Running);
    [Some(is), Some(then), between, thawed]
        .into_iter()
        .flatten()
        .collect()
}

/// Whether what is found after such an order stays: with others the end may be on its way still.
#[must_use]
pub fn settles(order: Order) -> bool {
    !matches!(
        order,
        Order::Stop | Order::Kill | Order::Restart | Order::Remove { .. } | Order::LoseKeeper
    )
}

/// Random numbers that can be had again: xorshift64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// By a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.number();
        random
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The low bits alone are weak.
        self.0.rotate_left(32)
    }

    /// The next one below a limit that is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.number() % limit).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_comes_up() {
        let orders: Vec<Order> = (0..22).map(Order::of).collect();
        assert_eq!(orders[0], Order::Create);
        for order in [
            Order::Exec,
            Order::Remove { force: true },
            Order::LoseKeeper,
        ] {
            assert!(orders.contains(&order), "{order:?}");
        }
        let mut random = Random::new(1);
        let same: Vec<u64> = (0..4).map(|_| random.number()).collect();
        let mut random = Random::new(1);
        assert_eq!(same, (0..4).map(|_| random.number()).collect::<Vec<_>>());
        assert!((0..1000).all(|_| random.below(7) < 7));
    }

    #[test]
    fn what_is_interrupted_was_or_becomes() {
        assert_eq!(
            interrupted(Is::Absent, Order::Create),
            [Is::Absent, Is::Created]
        );
        assert!(interrupted(Is::Running, Order::Restart).contains(&Is::Exited));
        assert!(!interrupted(Is::Running, Order::Pause).contains(&Is::Exited));
    }
}
