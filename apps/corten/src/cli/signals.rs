//! Signals that are passed on to the container, and those that end the program in good order.

use std::task::Poll;

use client::{Client, Query};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// All that docker passes on and a process can catch: names by Linux number.
const FORWARDED: &[(i32, &str)] = &[
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (5, "TRAP"),
    (6, "ABRT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (16, "STKFLT"),
    (18, "CONT"),
    (20, "TSTP"),
    (24, "XCPU"),
    (25, "XFSZ"),
    (26, "VTALRM"),
    (27, "PROF"),
    (29, "IO"),
    (30, "PWR"),
];

/// A set of signals being caught.
#[derive(Debug)]
pub(crate) struct Caught(Vec<(&'static str, i32, Signal)>);

impl Caught {
    /// Everything that is passed on.
    pub(crate) fn forwarded() -> Self {
        Self::of(|_| true)
    }

    /// What ends a program.
    pub(crate) fn ending() -> Self {
        Self::of(|number| matches!(number, 1 | 2 | 3 | 15))
    }

    /// Changes of the terminal's size.
    pub(crate) fn resize() -> Option<Signal> {
        signal(SignalKind::window_change()).ok()
    }

    fn of(wanted: impl Fn(i32) -> bool) -> Self {
        let caught = FORWARDED
            .iter()
            .filter(|(number, _)| wanted(*number))
            .filter_map(|(number, name)| {
                let caught = signal(SignalKind::from_raw(*number)).ok()?;
                Some((*name, *number, caught))
            })
            .collect();
        Self(caught)
    }

    /// Next signal's name and number.
    pub(crate) async fn next(&mut self) -> (&'static str, i32) {
        std::future::poll_fn(|cx| {
            for (name, number, caught) in &mut self.0 {
                if let Poll::Ready(Some(())) = caught.poll_recv(cx) {
                    return Poll::Ready((*name, *number));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Passes every signal on to the container; never returns.
    pub(crate) async fn forward(mut self, client: &Client, id: &str) {
        loop {
            let (name, _) = self.next().await;
            // It may have ended meanwhile; the wait tells.
            let query = Query::new().with("signal", name);
            let _ = client.act(id, "kill", &query).await;
        }
    }
}
