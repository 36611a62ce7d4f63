use compute::{BlockIoEntry, Usage};

use super::host::Host;
use super::{empty, fill};
use crate::record::Record;

fn usage() -> Usage {
    let mut usage = Usage::default();
    usage.cpu.total = 5;
    usage.memory.limit = u64::MAX;
    usage.memory.stats.insert("rss".into(), 7);
    usage.memory.stats.insert("anon".into(), 9);
    usage.pids.limit = u64::MAX;
    let entry = |op: &str| BlockIoEntry {
        major: 8,
        minor: 1,
        op: op.into(),
        value: 3,
    };
    usage.block_io.service_bytes = vec![entry("read"), entry("write"), entry("total")];
    usage
}

fn filled(version: u8) -> serde_json::Value {
    let record = Record {
        id: "id".into(),
        name: "n".into(),
        ..Record::default()
    };
    let mut stats = empty(&record);
    fill(
        &mut stats,
        usage(),
        version,
        Host {
            cpu_nanos: 1,
            cpus: 2,
            memory: 4096,
        },
    );
    serde_json::to_value(stats).expect("serialize")
}

#[test]
fn version_1() {
    let stats = filled(1);
    assert_eq!(stats["name"], "/n");
    assert_eq!(stats["preread"], "0001-01-01T00:00:00Z");
    assert_eq!(stats["memory_stats"]["limit"], 4096);
    assert_eq!(stats["memory_stats"]["stats"]["rss"], 7);
    assert_eq!(stats["memory_stats"]["stats"]["total_rss"], 0);
    assert!(stats["memory_stats"]["stats"].get("anon").is_none());
    assert!(stats["pids_stats"].get("limit").is_none());
    assert_eq!(
        stats["blkio_stats"]["io_service_bytes_recursive"][0]["op"],
        "Read"
    );
    assert_eq!(
        stats["blkio_stats"]["io_service_bytes_recursive"][2]["op"],
        "Total"
    );
    assert_eq!(
        stats["blkio_stats"]["sectors_recursive"],
        serde_json::json!([])
    );
    assert!(stats.get("networks").is_none());
}

#[test]
fn version_2() {
    let stats = filled(2);
    assert_eq!(stats["memory_stats"]["stats"]["anon"], 9);
    assert_eq!(stats["pids_stats"]["limit"], u64::MAX);
    let bytes = &stats["blkio_stats"]["io_service_bytes_recursive"];
    assert_eq!(bytes.as_array().map(Vec::len), Some(2));
    assert_eq!(bytes[1]["op"], "write");
    assert!(stats["blkio_stats"]["sectors_recursive"].is_null());
}
