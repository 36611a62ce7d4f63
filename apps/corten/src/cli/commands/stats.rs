//! `stats`: once, or redrawn as the engine measures.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Client, Query};
use dockerapi::{BlkioStats, CpuStats, Event, MemoryStats, Stats};
use gotemplate::Value;

use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::filters::Filters;
use crate::cli::listing::{Kind, is_default_table, short_id};
use crate::cli::signals::Caught;
use crate::cli::{out, units};

const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
const ALL_TABLE: &str = "table {{.Container}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

static KIND: Kind = Kind {
    type_name: "*container.statsContext",
    headers: &[
        ("Container", "CONTAINER"),
        ("Name", "NAME"),
        ("ID", "CONTAINER ID"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
};

/// What is shown of one container.
#[derive(Debug, Default)]
struct Entry {
    container: String,
    stats: Option<Stats>,
    gone: bool,
}

type Shared = Arc<Mutex<Vec<Entry>>>;

/// `stats`.
pub(super) async fn run(call: &Call) -> Outcome {
    let flags = &call.flags;
    let format = match flags.text("format") {
        "" => call.app.config().text("statsFormat").to_owned(),
        format => format.to_owned(),
    };
    let format = if is_default_table(&format) {
        let _ = ALL_TABLE;
        TABLE.to_owned()
    } else {
        format
    };
    // Wrong templates are told before anything is measured.
    KIND.render(&format, &[])?;
    let trunc = !flags.on("no-trunc");
    let client = call.app.client().await?;
    if flags.on("no-stream") {
        return once(client, call, &format, trunc).await;
    }
    live(client, call, &format, trunc).await
}

async fn targets(client: &Client, call: &Call) -> Outcome<Vec<String>> {
    if !call.flags.args.is_empty() {
        return Ok(call.flags.args.clone());
    }
    let query = Query::new().with_flag("all", call.flags.on("all"));
    let containers = client.container_list(&query).await?;
    Ok(containers.into_iter().map(|one| one.id).collect())
}

async fn once(client: &Client, call: &Call, format: &str, trunc: bool) -> Outcome {
    let names = targets(client, call).await?;
    let mut rows = Vec::new();
    let mut errors = Vec::new();
    for name in names {
        let stats = async {
            let response = client.container_stats(&name, false).await?;
            response.json::<Stats>().await
        };
        match stats.await {
            Ok(stats) => rows.push(row(
                &Entry {
                    container: name,
                    stats: Some(stats),
                    gone: false,
                },
                trunc,
            )),
            // Containers that ended since the list was made are left out.
            Err(error) if error.is_not_found() && call.flags.args.is_empty() => {}
            Err(error) => errors.push(error.to_string()),
        }
    }
    if !errors.is_empty() {
        return Err(Failure::new(errors.join("\n")));
    }
    out::print(&KIND.render(format, &rows)?);
    Ok(())
}

async fn live(client: &Client, call: &Call, format: &str, trunc: bool) -> Outcome {
    let shared: Shared = Arc::default();
    let names = targets(client, call).await?;
    let everything = call.flags.args.is_empty();
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut readers = Readers::default();
    for name in names {
        known.insert(name.clone());
        readers.add(client, name, &shared);
    }
    let filters = {
        let mut filters = Filters::default();
        filters.add("type", "container");
        filters.json()
    };
    let query = Query::new().with("filters", filters);
    let mut events = client.events(&query).await?;
    let mut caught = Caught::ending();
    // The screen is drawn anew twice a second, which is docker's rhythm and what people read.
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    let mut screen = Screen::default();
    loop {
        tokio::select! {
            (_, number) = caught.next() => {
                return if number == 2 { Ok(()) } else { Err(Failure::status(i64::from(128 + number))) };
            }
            event = events.next(), if everything => match event? {
                Some(event) => follow(client, call, &event, &mut known, &mut readers, &shared),
                None => return Ok(()),
            },
            () = readers.turn() => {}
            _ = tick.tick() => {
                let mut entries = lock(&shared);
                if everything {
                    entries.retain(|entry| !entry.gone);
                } else if entries.iter().all(|entry| entry.gone) {
                    return Ok(());
                }
                let rows: Vec<Value> = entries.iter().map(|entry| row(entry, trunc)).collect();
                drop(entries);
                screen.draw(&KIND.render(format, &rows)?);
            }
        }
    }
}

/// Containers that start are measured from then on; those that end are taken off.
fn follow<'a>(
    client: &'a Client,
    call: &Call,
    event: &Event,
    known: &mut BTreeSet<String>,
    readers: &mut Readers<'a>,
    shared: &Shared,
) {
    let id = &event.actor.id;
    let all = call.flags.on("all");
    let begins = if all {
        event.action == "create"
    } else {
        event.action == "start"
    };
    let ends = if all {
        event.action == "destroy"
    } else {
        event.action == "die"
    };
    if begins && known.insert(id.clone()) {
        readers.add(client, id.clone(), shared);
    } else if ends {
        known.remove(id);
        lock(shared).retain(|entry| entry.container != *id);
    }
}

type Reader<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;

/// The streams being read, all of them in this one task.
#[derive(Default)]
struct Readers<'a>(Vec<Reader<'a>>);

impl<'a> Readers<'a> {
    fn add(&mut self, client: &'a Client, name: String, shared: &Shared) {
        lock(shared).push(Entry {
            container: name.clone(),
            ..Entry::default()
        });
        let shared = Arc::clone(shared);
        self.0.push(Box::pin(async move {
            let read = async {
                let response = client.container_stats(&name, true).await?;
                let mut samples = response.json_lines::<Stats>();
                while let Some(stats) = samples.next().await? {
                    if let Some(entry) = lock(&shared).iter_mut().find(|e| e.container == name) {
                        entry.stats = Some(stats);
                    }
                }
                client::Result::Ok(())
            };
            // However it ended, there will be no more samples.
            let _ = read.await;
            if let Some(entry) = lock(&shared).iter_mut().find(|e| e.container == name) {
                entry.gone = true;
            }
        }));
    }

    /// Lets every reader go on; ends when one of them has ended.
    async fn turn(&mut self) {
        std::future::poll_fn(|cx| {
            let before = self.0.len();
            self.0
                .retain_mut(|reader| reader.as_mut().poll(cx).is_pending());
            if self.0.len() < before {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    }
}

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, Vec<Entry>> {
    shared
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The live screen: each picture over the one before, so that nothing flickers.
#[derive(Debug, Default)]
struct Screen {
    drawn: bool,
}

impl Screen {
    fn draw(&mut self, text: &str) {
        if !out::is_terminal() {
            out::print(text);
            return;
        }
        let mut all = String::with_capacity(text.len() + 64);
        if !self.drawn {
            all.push_str("\x1b[2J");
            self.drawn = true;
        }
        all.push_str("\x1b[H");
        for line in text.lines() {
            all.push_str(line);
            all.push_str("\x1b[K\n");
        }
        all.push_str("\x1b[J");
        out::print(&all);
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "figures are shown with three digits"
)]
fn row(entry: &Entry, trunc: bool) -> Value {
    let none = || "--".to_owned();
    let size = |size: u64| units::decimal_size(size as f64, 3, "");
    let (id, name) = match &entry.stats {
        Some(stats) => (
            stats.id.clone(),
            stats.name.trim_start_matches('/').to_owned(),
        ),
        None => (String::new(), String::new()),
    };
    let id = if trunc { short_id(&id).to_owned() } else { id };
    let name = if name.is_empty() { none() } else { name };
    let mut fields = vec![
        ("Container", entry.container.as_str().into()),
        ("Name", name.into()),
        ("ID", id.into()),
    ];
    let Some(stats) = &entry.stats else {
        fields.extend([
            ("CPUPerc", none().into()),
            ("MemUsage", "-- / --".into()),
            ("MemPerc", none().into()),
            ("NetIO", none().into()),
            ("BlockIO", none().into()),
            ("PIDs", none().into()),
        ]);
        return KIND.row(fields);
    };
    let used = memory_used(&stats.memory_stats);
    let limit = stats.memory_stats.limit as f64;
    let memory = if limit == 0.0 {
        0.0
    } else {
        used / limit * 100.0
    };
    let (read, written) = block_io(&stats.blkio_stats);
    let networks = stats.networks.iter().flat_map(|all| all.values());
    let (received, sent) = networks.fold((0u64, 0u64), |(received, sent), one| {
        (received + one.rx_bytes, sent + one.tx_bytes)
    });
    fields.extend([
        (
            "CPUPerc",
            format!("{:.2}%", cpu(&stats.precpu_stats, &stats.cpu_stats)).into(),
        ),
        (
            "MemUsage",
            format!("{} / {}", units::bytes_size(used), units::bytes_size(limit)).into(),
        ),
        ("MemPerc", format!("{memory:.2}%").into()),
        (
            "NetIO",
            format!("{} / {}", size(received), size(sent)).into(),
        ),
        (
            "BlockIO",
            format!("{} / {}", size(read), size(written)).into(),
        ),
        ("PIDs", stats.pids_stats.current.to_string().into()),
    ]);
    KIND.row(fields)
}

/// Without the file cache that the kernel would give back.
#[allow(clippy::cast_precision_loss, reason = "shown with four digits")]
fn memory_used(memory: &MemoryStats) -> f64 {
    let inactive = |name: &str| memory.stats.get(name).copied();
    let cache = match inactive("total_inactive_file") {
        Some(cache) if cache < memory.usage => cache,
        _ => inactive("inactive_file")
            .filter(|cache| *cache < memory.usage)
            .unwrap_or(0),
    };
    (memory.usage - cache) as f64
}

#[allow(clippy::cast_precision_loss, reason = "shown with two decimals")]
fn cpu(before: &CpuStats, now: &CpuStats) -> f64 {
    let used = now.cpu_usage.total_usage as f64 - before.cpu_usage.total_usage as f64;
    let system = now.system_cpu_usage as f64 - before.system_cpu_usage as f64;
    let online = match now.online_cpus {
        0 => now.cpu_usage.percpu_usage.len() as f64,
        online => online as f64,
    };
    if system > 0.0 && used > 0.0 {
        used / system * online * 100.0
    } else {
        0.0
    }
}

fn block_io(blkio: &BlkioStats) -> (u64, u64) {
    let mut sums = (0, 0);
    for entry in blkio.io_service_bytes_recursive.iter().flatten() {
        match entry.op.bytes().next() {
            Some(b'r' | b'R') => sums.0 += entry.value,
            Some(b'w' | b'W') => sums.1 += entry.value,
            _ => {}
        }
    }
    sums
}
