//! A client at a terminal: what it writes is collected, what a person would type is sent.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::lab::wait_for;

/// A program with a terminal of 24 rows and 80 columns as its three streams.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Runs a command; its program, arguments and variables count, its streams do not.
    pub(crate) fn run(command: &Command) -> Self {
        let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a terminal");
        grantpt(&main).expect("grantpt");
        unlockpt(&main).expect("unlockpt");
        let name = ptsname(&main, Vec::new()).expect("ptsname");
        let name = name.into_string().expect("a terminal's name");
        let side = File::options()
            .read(true)
            .write(true)
            .open(name)
            .expect("the terminal's other side");
        resize(&main, 24, 80);
        let stream = || Stdio::from(side.try_clone().expect("dup"));
        // Its session's terminal, so that it hears of its size and its keys.
        let mut with_terminal = Command::new("setsid");
        with_terminal
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args());
        for (key, value) in command.get_envs() {
            with_terminal.env(key, value.unwrap_or_default());
        }
        let child = with_terminal
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .expect("setsid");
        let keyboard = File::from(main);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut source, sink) = (keyboard.try_clone().expect("dup"), Arc::clone(&screen));
        // Ends by itself: reading fails once the last holder of the other side is gone.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = source.read(&mut buffer) {
                sink.lock()
                    .expect("screen")
                    .extend_from_slice(&buffer[..read]);
            }
        });
        Self {
            child,
            keyboard,
            screen,
        }
    }

    /// Types.
    pub fn type_in(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).expect("keyboard");
    }

    /// Changes its size; the program gets SIGWINCH.
    pub fn resize(&self, rows: u16, columns: u16) {
        resize(&self.keyboard, rows, columns);
    }

    /// All that was shown so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("screen")).into_owned()
    }

    /// Waits until a text was shown.
    #[track_caller]
    pub fn see(&self, text: &str) {
        let seen = wait_for(Duration::from_secs(20), || self.shown().contains(text));
        assert!(seen, "{text:?} is not in {:?}", self.shown());
    }

    /// Waits for the end; answers the exit code.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        let mut status = None;
        let ended = wait_for(Duration::from_secs(20), || {
            status = self.child.try_wait().expect("child");
            status.is_some()
        });
        assert!(ended, "still running, having shown {:?}", self.shown());
        status.and_then(|status| status.code()).unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(fd: impl std::os::fd::AsFd, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(fd, size).expect("terminal size");
}
