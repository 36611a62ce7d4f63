use std::path::Path;
use std::time::Duration;

use redb::TableDefinition;

use super::{Change, Entry, Error, Limits, State, Table};

fn open(dir: &Path) -> State {
    State::open(&dir.join("state.redb")).expect("open")
}

fn texts(entries: &[Entry]) -> Vec<String> {
    let text = |entry: &Entry| serde_json::from_slice(&entry.event).expect("text");
    entries.iter().map(text).collect()
}

/// All of it, as a reader gets it.
fn all(state: &State) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    loop {
        let after = found
            .last()
            .map_or(state.log().dropped(), |last| last.stamp);
        let page = match state.log().recent(after, 100) {
            Some(page) => page,
            None => state.log().stored(after, 100).expect("page"),
        };
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

#[tokio::test]
async fn rows_and_events_survive_reopening() {
    let dir = tempfile::tempdir().expect("temp dir");
    let before = {
        let state = open(dir.path());
        let change = Change::new()
            .put(Table::Containers, "a", &1)
            .event(&"created");
        state.commit(change).await.expect("commit");
        state.tell(&"used");
        let change = Change::new()
            .put(Table::Containers, "b", &2)
            .delete(Table::Containers, "a")
            .event(&"deleted");
        state.commit(change).await.expect("commit");
        state.tell(&"last word");
        state.flush().await;
        all(&state)
    };
    let state = open(dir.path());
    assert_eq!(
        state.load::<i32>(Table::Containers).expect("rows"),
        [("b".to_owned(), 2)]
    );
    let after = all(&state);
    assert_eq!(texts(&after), ["created", "used", "deleted", "last word"]);
    let stamps = |entries: &[Entry]| entries.iter().map(|e| e.stamp).collect::<Vec<_>>();
    assert_eq!(stamps(&before), stamps(&after));
    assert!(after.is_sorted_by(|a, b| a.stamp < b.stamp));
    assert_eq!(state.log().newest(), after[3].stamp);
}

#[tokio::test]
async fn one_reads_on_from_memory_or_from_the_table() {
    let dir = tempfile::tempdir().expect("temp dir");
    let state = open(dir.path());
    for n in 0..3000 {
        state.tell(&n.to_string());
    }
    state.flush().await;
    let log = state.log();
    assert!(log.recent(0, 10).is_none(), "too long ago for memory");
    let seen = texts(&all(&state));
    let told: Vec<String> = (0..3000).map(|n| n.to_string()).collect();
    assert_eq!(seen, told);
}

#[tokio::test]
async fn a_changes_events_are_held_until_it_is_shown() {
    let dir = tempfile::tempdir().expect("temp dir");
    let state = open(dir.path());
    let told = state
        .commit(Change::new().event(&"first"))
        .await
        .expect("commit");
    state.tell(&"second");
    state.flush().await;
    let mut news = state.log().watch();
    assert!(state.log().recent(0, 10).expect("memory").is_empty());
    assert!(all(&state).is_empty());
    assert!(state.log().newest() < state.log().written());
    drop(told);
    assert_eq!(state.log().newest(), state.log().written());
    assert!(news.has_changed().expect("open"));
    news.mark_unchanged();
    assert_eq!(texts(&all(&state)), ["first", "second"]);
}

#[tokio::test]
async fn the_oldest_go_and_a_reader_that_wants_them_is_told() {
    let dir = tempfile::tempdir().expect("temp dir");
    let state = open(dir.path());
    state.log().limit(Limits {
        bytes: 4 << 10,
        age: None,
    });
    let mut begun = 0;
    for n in 0..300 {
        let change = Change::new().event(&format!("{n:>100}"));
        state.commit(change).await.expect("commit");
        if n == 0 {
            begun = state.log().newest();
        }
    }
    let kept = all(&state);
    assert!((20..40).contains(&kept.len()), "{}", kept.len());
    assert_eq!(
        texts(&kept).last().map(|text| text.trim().to_owned()),
        Some("299".into())
    );
    assert!(matches!(
        state.log().stored(begun, 10),
        Err(Error::Overtaken)
    ));
    state.log().limit(Limits {
        bytes: u64::MAX,
        age: Some(Duration::ZERO),
    });
    state
        .commit(Change::new().event(&"new"))
        .await
        .expect("commit");
    assert!(all(&state).len() <= 1);
}

#[tokio::test]
async fn what_goes_is_told_of_before_it_is_gone() {
    let dir = tempfile::tempdir().expect("temp dir");
    let state = open(dir.path());
    let change = Change::new().event(&"old");
    drop(state.commit(change).await.expect("commit"));
    let (log, old) = (state.log(), state.log().newest());
    log.limit(Limits {
        bytes: 0,
        age: None,
    });
    let transaction = state.database().begin_write().expect("write");
    let new = Entry {
        stamp: log.next_stamp(None),
        event: b"\"new\"".as_slice().into(),
    };
    log.write(&transaction, &[new], false).expect("written");
    // Whoever reads from now on may find the rows without it.
    assert!(log.dropped() >= old);
    assert!(matches!(log.stored(old - 1, 10), Err(Error::Overtaken)));
}

#[tokio::test]
async fn events_of_the_first_schema_are_taken_over() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("state.redb");
    {
        let database = redb::Database::create(&path).expect("create");
        let write = database.begin_write().expect("write");
        {
            let meta: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
            write
                .open_table(meta)
                .expect("meta")
                .insert("schema", 1)
                .expect("row");
            let events: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
            let mut events = write.open_table(events).expect("events");
            for (number, time) in [(7, 50), (8, 60), (9, 60)] {
                let event = format!("{{\"n\":{number},\"timeNano\":{time}}}");
                events.insert(number, event.as_bytes()).expect("row");
            }
        }
        write.commit().expect("commit");
    }
    let state = open(dir.path());
    let stamps: Vec<i64> = all(&state).iter().map(|entry| entry.stamp).collect();
    assert_eq!(stamps, [50, 60, 61]);
    drop(state);
    assert_eq!(all(&open(dir.path())).len(), 3);
}
