//! Metrics in Prometheus' text form, on a listener of their own.
//!
//! Names, labels and buckets are dockerd's; those that begin with `corten_` are our own
//! (docs/daemon.md). Numbers of the engine are asked for when somebody looks; only how long requests
//! took is counted as it happens.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::Figures;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::body::ResponseBody;
use crate::{Api, answer, connection};

/// Prometheus' default buckets, in seconds.
const BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Connections at the same time; more wait.
const CONNECTIONS: usize = 32;
/// How long a client may take to send its request's head.
const HEAD: Duration = Duration::from_secs(30);

/// What is timed. The order is that of [`ACTIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    ContainerChanges,
    ContainerCreate,
    ContainerDelete,
    ContainerStart,
    ImageDelete,
    ImageHistory,
    ImagePull,
    ImagePush,
    SystemInfo,
    SystemVersion,
}

/// Metric, label and value of each.
const ACTIONS: [(&str, &str, &str); 10] = [
    ("container_actions", "action", "changes"),
    ("container_actions", "action", "create"),
    ("container_actions", "action", "delete"),
    ("container_actions", "action", "start"),
    ("image_actions", "action", "delete"),
    ("image_actions", "action", "history"),
    ("image_actions", "action", "pull"),
    ("image_actions", "action", "push"),
    ("host_info_functions", "function", "system_info"),
    ("host_info_functions", "function", "system_version"),
];
const TIMED: [(&str, &str); 3] = [
    ("container_actions", "process each container action"),
    ("image_actions", "process each image action"),
    (
        "host_info_functions",
        "call functions gathering info about the host",
    ),
];

/// What is counted as it happens.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    times: [Mutex<Histogram>; ACTIONS.len()],
    /// Answers by the first digit of their status, from 1.
    answers: [AtomicU64; 5],
}

#[derive(Debug, Default, Clone, Copy)]
struct Histogram {
    /// Not cumulative.
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

/// A time that is being taken; it counts when this is dropped.
#[derive(Debug)]
pub(crate) struct Timing {
    api: Api,
    action: Action,
    began: Instant,
}

impl Api {
    /// Takes the time of work, which counts when it succeeds.
    pub(crate) async fn timed<T>(
        &self,
        action: Action,
        work: impl Future<Output = engine::Result<T>>,
    ) -> engine::Result<T> {
        let began = Instant::now();
        let result = work.await;
        if result.is_ok() {
            self.0.metrics.took(action, began.elapsed());
        }
        result
    }

    /// Takes the time until the answer is dropped.
    pub(crate) fn timing(&self, action: Action) -> Timing {
        Timing {
            api: self.clone(),
            action,
            began: Instant::now(),
        }
    }
}

impl Drop for Timing {
    fn drop(&mut self) {
        self.api.0.metrics.took(self.action, self.began.elapsed());
    }
}

impl Metrics {
    fn took(&self, action: Action, time: Duration) {
        let seconds = time.as_secs_f64();
        let mut histogram = lock(&self.times[action as usize]);
        histogram.count += 1;
        histogram.sum += seconds;
        if let Some(bucket) = BUCKETS.iter().position(|most| seconds <= *most) {
            histogram.buckets[bucket] += 1;
        }
    }

    /// An answer was given.
    pub(crate) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        if let Some(count) = self.answers.get(class.wrapping_sub(1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn text(&self, figures: &Figures) -> String {
        let mut text = String::new();
        for (name, what) in TIMED {
            self.timed(&mut text, name, what);
        }
        engine(&mut text, figures);
        let name = "corten_api_answers_total";
        head(
            &mut text,
            name,
            "counter",
            "The number of answers by the class of their status",
        );
        for (class, count) in (1..).zip(&self.answers) {
            let count = count.load(Ordering::Relaxed);
            line(
                &mut text,
                format_args!("{name}{{class=\"{class}xx\"}} {count}"),
            );
        }
        text
    }

    fn timed(&self, text: &mut String, metric: &str, what: &str) {
        let name = format!("engine_daemon_{metric}_seconds");
        let help = format!("The number of seconds it takes to {what}");
        head(text, &name, "histogram", &help);
        let of = ACTIONS.iter().zip(&self.times);
        for ((_, key, value), times) in of.filter(|((known, ..), _)| *known == metric) {
            let times = *lock(times);
            let label = format!("{key}=\"{value}\"");
            let mut below = 0;
            for (most, count) in BUCKETS.iter().zip(times.buckets) {
                below += count;
                line(
                    text,
                    format_args!("{name}_bucket{{{label},le=\"{most}\"}} {below}"),
                );
            }
            let (count, sum) = (times.count, times.sum);
            line(
                text,
                format_args!("{name}_bucket{{{label},le=\"+Inf\"}} {count}"),
            );
            line(text, format_args!("{name}_sum{{{label}}} {sum}"));
            line(text, format_args!("{name}_count{{{label}}} {count}"));
        }
    }
}

/// What the engine says of itself.
fn engine(text: &mut String, figures: &Figures) {
    let name = "engine_daemon_container_states_containers";
    head(
        text,
        name,
        "gauge",
        "The count of containers in various states",
    );
    let dockers = |phase: &str| match phase {
        "running" | "restarting" => "running",
        "paused" => "paused",
        _ => "stopped",
    };
    for state in ["paused", "running", "stopped"] {
        let of = figures
            .states
            .iter()
            .filter(|(phase, _)| dockers(phase) == state);
        let count: u64 = of.map(|(_, count)| count).sum();
        line(text, format_args!("{name}{{state=\"{state}\"}} {count}"));
    }
    let name = "corten_container_states_containers";
    head(
        text,
        name,
        "gauge",
        "The count of containers in each state that inspect can show",
    );
    for (state, count) in &figures.states {
        line(text, format_args!("{name}{{state=\"{state}\"}} {count}"));
    }
    let name = "engine_daemon_engine_info";
    let help = "The information related to the engine and the OS it is running on";
    head(text, name, "gauge", help);
    let labels: Vec<String> = figures
        .about
        .iter()
        .map(|(key, value)| format!("{key}=\"{}\"", escaped(value)))
        .collect();
    line(text, format_args!("{name}{{{}}} 1", labels.join(",")));
    numbers(text, figures);
}

/// What is one number each.
fn numbers(text: &mut String, figures: &Figures) {
    for (name, kind, help, value) in [
        (
            "engine_daemon_engine_cpus_cpus",
            "gauge",
            "The number of cpus that the host system of the engine has",
            figures.cpus,
        ),
        (
            "engine_daemon_engine_memory_bytes",
            "gauge",
            "The number of bytes of memory that the host system of the engine has",
            figures.memory,
        ),
        (
            "engine_daemon_events_total",
            "counter",
            "The number of events logged",
            figures.events,
        ),
        (
            "engine_daemon_events_subscribers_total",
            "gauge",
            "The number of current subscribers to events",
            figures.listeners,
        ),
        (
            "engine_daemon_health_checks_total",
            "counter",
            "The total number of health checks",
            figures.health_checks,
        ),
        (
            "engine_daemon_health_checks_failed_total",
            "counter",
            "The total number of failed health checks",
            figures.health_checks_failed,
        ),
        (
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory size in bytes.",
            figures.resident,
        ),
        (
            "process_open_fds",
            "gauge",
            "Number of open file descriptors.",
            figures.descriptors,
        ),
    ] {
        head(text, name, kind, help);
        line(text, format_args!("{name} {value}"));
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    line(text, format_args!("# HELP {name} {help}"));
    line(text, format_args!("# TYPE {name} {kind}"));
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{content}");
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// Serves `GET /metrics` until `stop` turns true.
pub async fn serve(api: Api, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // A place first: those that wait for one wait in the backlog.
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = connection::told_to_stop(&mut stop) => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                crate::listen::refused(&error).await;
                continue;
            }
        };
        let api = api.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let response = respond(&api, &request);
                async { Ok::<_, Infallible>(response) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
            let served = builder.serve_connection(TokioIo::new(stream), answer).await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection for metrics ended");
            }
            drop(place);
        });
    }
}

fn respond(api: &Api, request: &Request<Incoming>) -> Response<ResponseBody> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let figures = api.0.engine.figures();
            (StatusCode::OK, api.0.metrics.text(&figures))
        }
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
        _ => (StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
    };
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    answer::typed(status, kind, ResponseBody::Full(Some(body.into())))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{Action, Metrics};
    use engine::Figures;
    use http::StatusCode;
    use std::time::Duration;

    #[test]
    fn times_are_cumulative_and_states_are_dockers() {
        let metrics = Metrics::default();
        for millis in [1, 7, 30_000] {
            metrics.took(Action::ContainerStart, Duration::from_millis(millis));
        }
        metrics.answered(StatusCode::NOT_FOUND);
        let figures = Figures {
            states: vec![
                ("created", 2),
                ("exited", 1),
                ("restarting", 1),
                ("running", 4),
            ],
            about: vec![("os", "a \"b\" c".into())],
            ..Figures::default()
        };
        let text = metrics.text(&figures);
        for wanted in [
            "engine_daemon_container_actions_seconds_bucket{action=\"start\",le=\"0.005\"} 1",
            "engine_daemon_container_actions_seconds_bucket{action=\"start\",le=\"0.01\"} 2",
            "engine_daemon_container_actions_seconds_bucket{action=\"start\",le=\"10\"} 2",
            "engine_daemon_container_actions_seconds_bucket{action=\"start\",le=\"+Inf\"} 3",
            "engine_daemon_container_actions_seconds_sum{action=\"start\"} 30.008",
            "engine_daemon_container_actions_seconds_count{action=\"create\"} 0",
            "engine_daemon_container_states_containers{state=\"running\"} 5",
            "engine_daemon_container_states_containers{state=\"stopped\"} 3",
            "corten_container_states_containers{state=\"restarting\"} 1",
            "engine_daemon_engine_info{os=\"a \\\"b\\\" c\"} 1",
            "corten_api_answers_total{class=\"4xx\"} 1",
        ] {
            assert!(text.lines().any(|line| line == wanted), "{wanted}\n{text}");
        }
    }
}
