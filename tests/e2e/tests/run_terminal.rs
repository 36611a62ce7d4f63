//! `docker run -t`, `attach` and `exec -t` at a terminal: sizes, keys, detaching.

use e2e::{Lab, root};

#[test]
fn a_terminal_is_one_and_has_the_clients_size() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let mut terminal = lab.terminal(&["run", "-it", "--rm", "--name", "tty", "bb", "sh"]);
    terminal.see("# ");
    terminal.type_in(b"tty; stty size; echo term=$TERM\r");
    terminal.see("/dev/pts/0\r\n24 80\r\nterm=xterm\r\n");
    terminal.resize(50, 132);
    terminal.type_in(b"until [ \"$(stty size)\" = '50 132' ]; do :; done; echo re''sized\r");
    terminal.see("resized");
    // Ctrl-C reaches the program, not the client.
    terminal.type_in(b"trap 'echo int''errupted' INT; echo re''ady\r");
    terminal.see("ready");
    terminal.type_in(b"\x03");
    terminal.see("interrupted");
    assert_eq!(
        lab.inspect(
            "tty",
            "{{.Config.Tty}} {{.Config.OpenStdin}} {{.Config.StdinOnce}}"
        ),
        "true true true"
    );
    terminal.type_in(b"exit 6\r");
    assert_eq!(terminal.end(), 6);
}

#[test]
fn detached_and_attached_again() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    let mut first = lab.terminal(&["run", "-it", "--name", "tty", "bb", "sh"]);
    first.see("# ");
    first.type_in(b"A=remembered; echo o''ne\r");
    first.see("one");
    first.type_in(b"\x10\x11");
    assert_eq!(first.end(), 0);
    assert_eq!(lab.inspect("tty", "{{.State.Running}}"), "true");

    let mut second = lab.terminal(&["attach", "tty"]);
    second.type_in(b"\recho again $A\r");
    second.see("again remembered");
    // A lone ctrl-p is the program's once another key follows.
    second.type_in(b"\x10\x11");
    // So docker says it of an attach, unlike of a run.
    assert_eq!(second.end(), 1);
    second.see("read escape sequence");

    let mut third = lab.terminal(&["attach", "--detach-keys", "ctrl-a,x", "tty"]);
    third.type_in(b"\recho thi''rd\r");
    third.see("third");
    third.type_in(b"\x01x");
    assert_eq!(third.end(), 1);
    assert_eq!(lab.inspect("tty", "{{.State.Running}}"), "true");

    let mut last = lab.terminal(&["attach", "tty"]);
    last.type_in(b"\rexit 3\r");
    assert_eq!(last.end(), 3);
    assert_eq!(
        lab.inspect("tty", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 3"
    );
    let events = lab.ok(&[
        "events",
        "--since",
        "0",
        "--until",
        &lab.now(),
        "--filter",
        "container=tty",
        "--format",
        "{{.Action}}",
    ]);
    // docker looks for the keys itself: for the engine its client has just left.
    let seen: Vec<&str> = events
        .lines()
        .filter(|action| *action != "resize")
        .collect();
    assert_eq!(
        seen,
        [
            "create", "attach", "start", "attach", "attach", "attach", "die"
        ]
    );
}

#[test]
fn output_of_a_terminal_has_carriage_returns() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    // Without a terminal of its own the client may still ask for one for the program's output.
    let ran = lab.docker(&[
        "run",
        "--rm",
        "-t",
        "bb",
        "sh",
        "-c",
        "echo one; echo two >&2",
    ]);
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (0, "one\r\ntwo\r\n", "")
    );
    let err = lab.fails(1, &["run", "--rm", "-it", "bb", "true"]);
    assert!(err.starts_with("the input device is not a TTY"), "{err}");
    lab.ok(&[
        "run",
        "-d",
        "-t",
        "--name",
        "bg",
        "bb",
        "sh",
        "-c",
        "echo logged; sleep 1000",
    ]);
    assert!(e2e::wait_for(std::time::Duration::from_secs(10), || lab
        .ok(&["logs", "bg"])
        == "logged"));
    assert_eq!(lab.docker(&["logs", "bg"]).out, "logged\r\n");
}

#[test]
fn exec_at_a_terminal() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    lab.ok(&["run", "-d", "--name", "host", "bb", "sleep", "1000"]);
    let mut terminal = lab.terminal(&["exec", "-it", "host", "sh"]);
    terminal.see("# ");
    terminal.type_in(b"tty; stty size; echo term=$TERM\r");
    terminal.see("24 80\r\nterm=xterm\r\n");
    assert!(
        terminal.shown().contains("/dev/pts/"),
        "{}",
        terminal.shown()
    );
    terminal.resize(31, 99);
    terminal.type_in(b"until [ \"$(stty size)\" = '31 99' ]; do :; done; echo re''sized\r");
    terminal.see("resized");
    terminal.type_in(b"exit 8\r");
    assert_eq!(terminal.end(), 8);
    // Detached from, it goes on.
    let mut terminal = lab.terminal(&["exec", "-it", "host", "sh", "-c", "echo up; sleep 1234"]);
    terminal.see("up");
    terminal.type_in(b"\x10\x11");
    assert_eq!(terminal.end(), 1);
    terminal.see("read escape sequence");
    assert!(lab.ok(&["top", "host"]).contains("sleep 1234"));
}
