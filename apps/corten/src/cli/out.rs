//! Standard output and error. Nobody reading is no failure worth a message: the program ends as
//! if SIGPIPE had killed it.

use std::io::{self, Write as _};

use rustix::fd::BorrowedFd;

/// Writes text to standard output.
pub(crate) fn print(text: &str) {
    write(text.as_bytes());
}

/// Writes text and a line end to standard output.
pub(crate) fn line(text: &str) {
    let mut all = String::with_capacity(text.len() + 1);
    all.push_str(text);
    all.push('\n');
    print(&all);
}

/// Writes bytes to standard output.
pub(crate) fn write(bytes: &[u8]) {
    if let Err(error) = write_all(rustix::stdio::stdout(), bytes) {
        broken(&error);
    }
}

/// Writes bytes to standard error.
pub(crate) fn write_error(bytes: &[u8]) {
    // Nowhere is left to complain to.
    let _ = write_all(rustix::stdio::stderr(), bytes);
}

/// Writes text and a line end to standard error.
pub(crate) fn error(text: &str) {
    write_error(format!("{text}\n").as_bytes());
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    rustix::termios::isatty(rustix::stdio::stdout())
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                // Somebody else made the terminal non-blocking: wait until it takes more.
                let mut poll = [rustix::event::PollFd::new(
                    &fd,
                    rustix::event::PollFlags::OUT,
                )];
                rustix::event::poll(&mut poll, None)?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn broken(error: &io::Error) -> ! {
    super::tty::restore();
    if error.kind() != io::ErrorKind::BrokenPipe {
        let text = super::failure::os_text(error);
        let _ = writeln!(io::stderr(), "write /dev/stdout: {text}");
        end(1);
    }
    end(141);
}

#[allow(clippy::exit, reason = "there is nobody left to report to")]
fn end(code: i32) -> ! {
    std::process::exit(code)
}
