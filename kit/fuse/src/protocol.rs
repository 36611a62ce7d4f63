//! Messages as the kernel lays them out: native byte order, every field at its natural place.

/// Protocol version that is spoken.
pub(crate) const MAJOR: u32 = 7;
/// Its minor number: what `max_pages` needs (7.28).
pub(crate) const MINOR: u32 = 31;
/// Longest answer to one read, in pages and bytes.
pub(crate) const MOST_PAGES: u16 = 256;
pub(crate) const MOST_READ: u32 = MOST_PAGES as u32 * 4096;
/// Room for one request: the kernel asks for at least this (`FUSE_MIN_READ_BUFFER`).
pub(crate) const REQUEST: usize = 16 << 10;
/// The root directory.
pub(crate) const ROOT: u64 = 1;
/// Seconds for which the kernel may believe what it was told: nothing here ever changes.
const FOREVER: u64 = 1 << 30;
/// Reads go to the program, not to the page cache.
const FOPEN_DIRECT_IO: u32 = 1;
const FUSE_ASYNC_READ: u32 = 1;
const FUSE_ASYNC_DIO: u32 = 1 << 15;
const FUSE_MAX_PAGES: u32 = 1 << 22;
const HEADER: usize = 40;

/// What the kernel asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    Init { major: u32, minor: u32, flags: u32 },
    Lookup { name: Vec<u8> },
    Forget,
    GetAttributes,
    Open,
    Read { offset: u64, size: u32 },
    Release,
    Statfs,
    Flush,
    Destroy,
    Other,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) unique: u64,
    pub(crate) node: u64,
    pub(crate) operation: Operation,
}

impl Request {
    /// Reads a request; `None` for what is too short to be one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (opcode, unique, node) = (u32_at(bytes, 4)?, u64_at(bytes, 8)?, u64_at(bytes, 16)?);
        let body = bytes.get(HEADER..)?;
        let operation = match opcode {
            1 => Operation::Lookup {
                name: body.split(|byte| *byte == 0).next()?.to_vec(),
            },
            2 | 42 => Operation::Forget,
            3 => Operation::GetAttributes,
            14 => Operation::Open,
            15 => Operation::Read {
                offset: u64_at(body, 8)?,
                size: u32_at(body, 16)?,
            },
            17 => Operation::Statfs,
            18 => Operation::Release,
            25 => Operation::Flush,
            26 => Operation::Init {
                major: u32_at(body, 0)?,
                minor: u32_at(body, 4)?,
                flags: u32_at(body, 12)?,
            },
            38 => Operation::Destroy,
            _ => Operation::Other,
        };
        Some(Self {
            unique,
            node,
            operation,
        })
    }
}

/// `struct fuse_out_header`; `error` is 0 or a positive errno, `length` that of what follows.
pub(crate) fn header(unique: u64, error: i32, length: usize) -> [u8; 16] {
    let mut out = [0; 16];
    // At most `MOST_READ`.
    out[..4].copy_from_slice(&((length + 16) as u32).to_ne_bytes());
    out[4..8].copy_from_slice(&(-error).to_ne_bytes());
    out[8..].copy_from_slice(&unique.to_ne_bytes());
    out
}

/// `struct fuse_init_out`.
pub(crate) fn init(flags: u32) -> Vec<u8> {
    let wanted = FUSE_ASYNC_READ | FUSE_ASYNC_DIO | FUSE_MAX_PAGES;
    let mut out = Vec::with_capacity(64);
    for number in [MAJOR, MINOR, MOST_READ, flags & wanted] {
        out.extend(number.to_ne_bytes());
    }
    // max_background and congestion_threshold: reads that wait for a network are many.
    out.extend(256u16.to_ne_bytes());
    out.extend(192u16.to_ne_bytes());
    out.extend(4096u32.to_ne_bytes());
    out.extend(1u32.to_ne_bytes());
    out.extend(MOST_PAGES.to_ne_bytes());
    out.resize(64, 0);
    out
}

/// `struct fuse_attr` of a file, or of the root directory.
fn attributes(node: u64, size: u64) -> Vec<u8> {
    let (mode, links) = match node {
        ROOT => (0o040_500u32, 2u32),
        _ => (0o100_400, 1),
    };
    let mut out = Vec::with_capacity(88);
    for number in [node, size, size.div_ceil(512), 0, 0, 0] {
        out.extend(number.to_ne_bytes());
    }
    for number in [0, 0, 0, mode, links, 0, 0, 0, 4096, 0] {
        out.extend(number.to_ne_bytes());
    }
    out
}

/// `struct fuse_attr_out`.
pub(crate) fn attributes_answer(node: u64, size: u64) -> Vec<u8> {
    let mut out = FOREVER.to_ne_bytes().to_vec();
    out.resize(16, 0);
    out.extend(attributes(node, size));
    out
}

/// `struct fuse_entry_out`.
pub(crate) fn entry(node: u64, size: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    // A name may get another file later; a file never changes.
    for number in [node, 0, 0, FOREVER, 0] {
        out.extend(number.to_ne_bytes());
    }
    out.extend(attributes(node, size));
    out
}

/// `struct fuse_open_out`.
pub(crate) fn opened() -> Vec<u8> {
    let mut out = vec![0; 16];
    out[8..12].copy_from_slice(&FOPEN_DIRECT_IO.to_ne_bytes());
    out
}

/// `struct fuse_kstatfs`, all zero but for the block size.
pub(crate) fn statfs() -> Vec<u8> {
    let mut out = vec![0; 80];
    out[40..44].copy_from_slice(&4096u32.to_ne_bytes());
    out[44..48].copy_from_slice(&255u32.to_ne_bytes());
    out
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at + 4)?;
    field.try_into().ok().map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at + 8)?;
    field.try_into().ok().map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_kernels_sizes() {
        assert_eq!(init(u32::MAX).len(), 64);
        assert_eq!(entry(2, 5).len(), 128);
        assert_eq!(attributes_answer(2, 5).len(), 104);
        assert_eq!(header(7, 5, 0)[4..8], (-5i32).to_ne_bytes());
    }

    #[test]
    fn requests_are_read_and_short_ones_refused() {
        let mut bytes = vec![0; HEADER];
        bytes[4..8].copy_from_slice(&15u32.to_ne_bytes());
        bytes[8..16].copy_from_slice(&9u64.to_ne_bytes());
        bytes[16..24].copy_from_slice(&2u64.to_ne_bytes());
        assert_eq!(Request::parse(&bytes), None, "a read without its body");
        bytes.extend(0u64.to_ne_bytes());
        bytes.extend(4096u64.to_ne_bytes());
        bytes.extend(512u32.to_ne_bytes());
        let read = Request::parse(&bytes).expect("a read");
        assert_eq!((read.unique, read.node), (9, 2));
        let want = Operation::Read {
            offset: 4096,
            size: 512,
        };
        assert_eq!(read.operation, want);
        for length in 0..HEADER {
            assert_eq!(Request::parse(&bytes[..length]), None);
        }
    }
}
