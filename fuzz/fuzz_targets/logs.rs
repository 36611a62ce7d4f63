//! A log file and a query: an end, in bounded steps.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use journal::{Format, Query, Reader};
use libfuzzer_sys::fuzz_target;

fn path() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("fuzz-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        dir.join("log")
    })
}

fuzz_target!(|data: (bool, Option<u8>, Option<i64>, Option<i64>, &[u8])| {
    let (local, tail, since, until, bytes) = data;
    std::fs::write(path(), bytes).expect("write");
    let format = if local { Format::Local } else { Format::Json };
    let query = Query {
        tail: tail.map(u64::from),
        since: since.map(i128::from),
        until: until.map(i128::from),
    };
    let Ok(mut reader) = Reader::open(path(), format, query) else {
        return;
    };
    let mut entries = 0usize;
    while let Ok(Some(nanos)) = reader.next(|entry| {
        let _ = (entry.stream, entry.attrs());
        entry.nanos()
    }) {
        assert!(query.since.is_none_or(|since| nanos >= since));
        entries += 1;
        assert!(entries <= bytes.len(), "more entries than bytes");
    }
    assert!(query.tail.is_none_or(|tail| entries as u64 <= tail));
});
