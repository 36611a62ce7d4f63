//! The loop that takes requests and has them answered.

use std::io::{self, IoSlice};
use std::sync::Arc;

use rustix::io::Errno;

use crate::Connection;
use crate::protocol::{self, MAJOR, MOST_READ, Operation, REQUEST, ROOT, Request};

/// One file, as it is found by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Any number above 1, never used for another file.
    pub number: u64,
    /// Bytes.
    pub size: u64,
}

/// What is in the directory. Called by one thread; only [`Files::read`] may take long, and should
/// then hand its [`Reply`] to somebody else.
pub trait Files: Send + Sync {
    /// A file by its name.
    fn by_name(&self, name: &[u8]) -> Option<File>;
    /// A file by its number.
    fn by_number(&self, number: u64) -> Option<File>;
    /// Somebody opened the file.
    fn opened(&self, number: u64);
    /// Somebody's descriptor went, after as many calls of `opened`.
    fn released(&self, number: u64);
    /// Bytes from `offset`, at most `size`, and only what is in the file.
    fn read(&self, number: u64, offset: u64, size: u32, reply: Reply);
}

/// The answer to one read. Dropped without a word it is `EIO`.
#[derive(Debug)]
pub struct Reply {
    connection: Connection,
    unique: u64,
    given: bool,
}

impl Reply {
    /// The bytes, all that were asked for.
    pub fn bytes(mut self, bytes: &[u8]) {
        self.given = true;
        let _ = self.connection.answer(self.unique, Ok(bytes));
    }

    /// The read fails with this errno.
    pub fn error(mut self, errno: Errno) {
        self.given = true;
        let _ = self.connection.answer(self.unique, Err(errno));
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.given {
            let _ = self.connection.answer(self.unique, Err(Errno::IO));
        }
    }
}

impl Connection {
    /// Answers until the file system is gone: its last mount and the last open file.
    ///
    /// # Errors
    /// Those of `/dev/fuse`, and a kernel that speaks another protocol.
    pub fn serve(&self, files: &Arc<dyn Files>) -> io::Result<()> {
        let mut buffer = vec![0; REQUEST];
        loop {
            let length = match rustix::io::read(&*self.0, buffer.as_mut_slice()) {
                Ok(length) => length,
                // The request was taken back before it was read.
                Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => continue,
                Err(Errno::NODEV) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            };
            let Some(request) = Request::parse(&buffer[..length]) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            if request.operation == Operation::Destroy {
                return Ok(());
            }
            self.one(request, files)?;
        }
    }

    fn one(&self, request: Request, files: &Arc<dyn Files>) -> io::Result<()> {
        let Request {
            unique,
            node,
            operation,
        } = request;
        let size = |number| match number {
            ROOT => Some(0),
            number => files.by_number(number).map(|file| file.size),
        };
        let answer = match operation {
            Operation::Forget => return Ok(()),
            Operation::Init {
                major,
                minor,
                flags,
            } => {
                if major != MAJOR || minor < protocol::MINOR {
                    let text = format!("the kernel speaks FUSE {major}.{minor}");
                    return Err(io::Error::new(io::ErrorKind::Unsupported, text));
                }
                Ok(protocol::init(flags))
            }
            Operation::Lookup { name } if node == ROOT => match files.by_name(&name) {
                Some(file) => Ok(protocol::entry(file.number, file.size)),
                None => Err(Errno::NOENT),
            },
            Operation::Lookup { .. } => Err(Errno::NOTDIR),
            Operation::GetAttributes => match size(node) {
                Some(size) => Ok(protocol::attributes_answer(node, size)),
                None => Err(Errno::STALE),
            },
            Operation::Open => match files.by_number(node) {
                Some(_) => {
                    files.opened(node);
                    Ok(protocol::opened())
                }
                None => Err(Errno::STALE),
            },
            Operation::Read { offset, size } => {
                self.read(node, (offset, size.min(MOST_READ)), unique, files);
                return Ok(());
            }
            Operation::Release => {
                files.released(node);
                Ok(Vec::new())
            }
            Operation::Flush => Ok(Vec::new()),
            Operation::Statfs => Ok(protocol::statfs()),
            Operation::Destroy | Operation::Other => Err(Errno::NOSYS),
        };
        let answer = answer.as_deref().map_err(|errno| *errno);
        match self.answer(unique, answer) {
            // Whoever asked has gone.
            Err(Errno::NOENT | Errno::INTR) | Ok(()) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn read(&self, node: u64, (offset, size): (u64, u32), unique: u64, files: &Arc<dyn Files>) {
        let reply = Reply {
            connection: self.clone(),
            unique,
            given: false,
        };
        let Some(file) = files.by_number(node) else {
            return reply.error(Errno::STALE);
        };
        let left = file.size.saturating_sub(offset);
        match u32::try_from(left).unwrap_or(u32::MAX).min(size) {
            0 => reply.bytes(&[]),
            size => files.read(node, offset, size, reply),
        }
    }

    fn answer(&self, unique: u64, answer: Result<&[u8], Errno>) -> rustix::io::Result<()> {
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(errno) => (errno.raw_os_error(), &[][..]),
        };
        let header = protocol::header(unique, error, body.len());
        let parts = [IoSlice::new(&header), IoSlice::new(body)];
        let parts = if body.is_empty() { &parts[..1] } else { &parts };
        rustix::io::writev(&*self.0, parts).map(drop)
    }
}
