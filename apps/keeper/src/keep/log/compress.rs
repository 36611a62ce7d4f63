//! A child that compresses one rotated file, so that the container is not kept waiting.
//!
//! The header of the gzip file carries what docker's carries, the time of the last entry, and the
//! number of the file it was made from, by which a reader finds its place again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use flate2::{Compression, GzBuilder};

use super::super::encode::Clock;
use super::child::Child;

/// The clock that files are stamped with lags behind the one of the entries.
const LAG: i64 = 10_000_000;

/// Begins to compress `from`, number `inode`, last written at `last` (seconds and nanoseconds
/// since 1970), into `to`.
pub(super) fn start(from: &File, to: &Path, inode: u64, last: (i64, i64)) -> io::Result<Child> {
    let into = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o640)
        .open(to)?;
    Child::start(&[from.as_fd(), into.as_fd()], || {
        // The container's work goes first.
        let _ = rustix::process::nice(10);
        let mut from = from;
        let mut packer = GzBuilder::new()
            .extra(header(inode, last))
            .write(&into, Compression::fast());
        io::copy(&mut from, &mut packer)?;
        packer.finish()?;
        Ok(())
    })
}

fn header(inode: u64, (second, nanos): (i64, i64)) -> Vec<u8> {
    let total = second * 1_000_000_000 + nanos + LAG;
    let mut text = br#"{"lastTime":""#.to_vec();
    let (second, nanos) = (total / 1_000_000_000, total % 1_000_000_000);
    Clock::default().at(second.unsigned_abs(), nanos as u32, &mut text);
    text.extend_from_slice(format!(r#"","inode":{inode}}}"#).as_bytes());
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_header_is_what_docker_reads() {
        let text = super::header(7, (1, 999_000_000));
        let wanted = r#"{"lastTime":"1970-01-01T00:00:02.009Z","inode":7}"#;
        assert_eq!(String::from_utf8(text).expect("text"), wanted);
    }
}
