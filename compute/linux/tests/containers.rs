//! Real containers through keepers, from a busybox root, as root: `cargo test -p compute-linux`.
//!
//! Not under libtest: the process takes a mount namespace of its own before it has threads.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a test, and what it shares with the measurement"
)]

mod bed;

use bed::*;
use compute::*;
use oci::runtime::{ConsoleSize, Memory, Process as Program, Resources};
use tokio::io::AsyncWriteExt;

const KILL: i32 = 9;
const TERM: i32 = 15;

fn main() {
    let Some(bed) = Bed::new() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    macro_rules! run {
        ($($test:ident),* $(,)?) => {$(
            if filter.as_deref().is_none_or(|f| stringify!($test).contains(f)) {
                let begun = std::time::Instant::now();
                runtime.block_on($test(&bed));
                bed.check_clean();
                println!("test {} ... ok ({:.2?})", stringify!($test), begun.elapsed());
            }
        )*};
    }
    run!(
        output_goes_to_log_and_clients,
        failures_are_told_and_leave_nothing,
        signals_and_init,
        stdin_half_close,
        late_and_several_clients,
        slow_client_holds_the_stream_not_the_end,
        terminal_resize_and_detach,
        execs,
        killed_keeper,
        adoption,
        pause_update_usage,
        out_of_memory,
        release_kills,
        many_at_once,
    );
}

async fn output_goes_to_log_and_clients(bed: &Bed) {
    let compute = bed.compute();
    let mut launch = bed.launch(&["sh", "-c", "echo out; echo err >&2; printf tail; exit 7"]);
    let (attachment, mut client) = client(false);
    launch.attachments.push(attachment);
    let id = launch.id.clone();
    let mut running = compute.launch(launch).await.unwrap();
    assert!(running.started_at.elapsed().unwrap().as_secs() < 10);
    let (exit, _) = end(&mut running).await;
    assert_eq!((exit.code, exit.oom_killed, exit.error), (7, false, None));
    // Complete as soon as the end is known.
    assert_eq!(bed.logged(&id, "stdout"), "out\ntail");
    assert_eq!(bed.logged(&id, "stderr"), "err\n");
    let [out, err] = split(&client.rest().await);
    assert_eq!((out.as_str(), err.as_str()), ("out\ntail", "err\n"));
    assert_eq!(within(client.ended).await.unwrap(), AttachEnd::Closed);
    let error = compute.signal(&id, None, TERM).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotRunning);
    compute.release(&id).await.unwrap();
    compute.release(&id).await.unwrap();
}

async fn failures_are_told_and_leave_nothing(bed: &Bed) {
    let compute = bed.compute();
    let missing = bed.launch(&["no-such-program"]);
    let error = compute.launch(missing).await.unwrap_err();
    assert_eq!(error.kind, Kind::CommandNotFound, "{error}");
    let error = compute
        .launch(bed.launch(&["/etc/passwd"]))
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::CannotInvoke, "{error}");
    let mut bad_log = bed.launch(&["true"]);
    bad_log.log = Log::File(compute::LogFile {
        format: compute::LogFormat::Json,
        compress: false,
        buffer: None,
        path: "/nowhere/at/all".into(),
        max_size: 0,
        max_files: 1,
        attrs: String::new(),
    });
    let error = compute.launch(bad_log).await.unwrap_err();
    assert!(error.message.contains("/nowhere/at/all"), "{error}");
    let mut bad_id = bed.launch(&["true"]);
    bad_id.id = "../x".into();
    let error = compute.launch(bad_id).await.unwrap_err();
    assert_eq!(error.kind, Kind::Invalid);
    compute.release("never-launched").await.unwrap();
    bed.check_clean();
}

async fn signals_and_init(bed: &Bed) {
    let compute = bed.compute();
    let plain = bed.launch(&["sleep", "1000"]);
    let mut with_init = bed.launch(&["sh", "-c", "sleep 1000 & echo $$; exec sleep 1001"]);
    with_init.init = true;
    let ids = [plain.id.clone(), with_init.id.clone()];
    let mut plain = compute.launch(plain).await.unwrap();
    let (attachment, mut output) = client(false);
    with_init.attachments.push(attachment);
    let mut with_init = compute.launch(with_init).await.unwrap();
    // The program is not pid 1.
    assert!(!output.until("\n").await.ends_with("\u{2}1\n"));
    let error = compute.signal(&ids[0], None, 1000).await.unwrap_err();
    assert_eq!(error.kind, Kind::Invalid);
    compute.signal(&ids[0], None, KILL).await.unwrap();
    assert_eq!(end(&mut plain).await.0.code, 128 + KILL);
    // pid 1 would ignore it; the init hands it on.
    compute.signal(&ids[1], None, TERM).await.unwrap();
    assert_eq!(end(&mut with_init).await.0.code, 128 + TERM);
    let mut status = bed.launch(&["sh", "-c", "exit 5"]);
    status.init = true;
    let id = status.id.clone();
    let mut status = compute.launch(status).await.unwrap();
    assert_eq!(end(&mut status).await.0.code, 5);
    for id in ids.iter().chain([&id]) {
        compute.release(id).await.unwrap();
    }
}

async fn stdin_half_close(bed: &Bed) {
    let compute = bed.compute();
    let mut launch = bed.launch(&["cat"]);
    launch.open_stdin = true;
    launch.stdin_once = true;
    let (mut attachment, mut client) = client(true);
    attachment.already_read = b"first ".to_vec();
    launch.attachments.push(attachment);
    let id = launch.id.clone();
    let mut running = compute.launch(launch).await.unwrap();
    // More than pipes and buffers hold: flow control both ways.
    let text = "0123456789abcdef\n".repeat(300_000);
    let (mut read, mut write) = client.stream.split();
    let sent = text.clone();
    let write = async move {
        write.write_all(sent.as_bytes()).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut all = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut all);
    let (_, read) = within(async { tokio::join!(write, read) }).await;
    read.unwrap();
    let [out, _] = split(&all);
    assert!(out == format!("first {text}"), "{} bytes", out.len());
    assert_eq!(end(&mut running).await.0.code, 0);
    assert!(bed.logged(&id, "stdout") == out);
    compute.release(&id).await.unwrap();
}

async fn late_and_several_clients(bed: &Bed) {
    let compute = bed.compute();
    let mut launch = bed.launch(&["sh", "-c", "while read x; do echo got $x; done"]);
    launch.open_stdin = true;
    let id = launch.id.clone();
    let mut running = compute.launch(launch).await.unwrap();
    let (first, mut a) = client(true);
    let (second, mut b) = client(true);
    compute.attach(&id, None, first).await.unwrap();
    compute.attach(&id, None, second).await.unwrap();
    a.stream.write_all(b"one\n").await.unwrap();
    a.until("got one\n").await;
    b.until("got one\n").await;
    // Its end is not that of stdin, nor of its output.
    a.stream.shutdown().await.unwrap();
    b.stream.write_all(b"two\n").await.unwrap();
    a.until("got two\n").await;
    b.until("got two\n").await;
    drop(b.stream);
    assert_eq!(within(b.ended).await.unwrap(), AttachEnd::Closed);
    compute.signal(&id, None, KILL).await.unwrap();
    assert_eq!(end(&mut running).await.0.code, 137);
    assert_eq!(a.rest().await, b"");
    assert_eq!(bed.logged(&id, "stdout"), "got one\ngot two\n");
    compute.release(&id).await.unwrap();
}

async fn slow_client_holds_the_stream_not_the_end(bed: &Bed) {
    let compute = bed.compute();
    let script = "i=0; while [ $i -lt 100000 ]; do echo 0123456789012345678901234567890123456789; \
        i=$((i+1)); done; echo done >&2; sleep 1000";
    let mut launch = bed.launch(&["sh", "-c", script]);
    let (attachment, mut client) = client(false);
    launch.attachments.push(attachment);
    let id = launch.id.clone();
    let mut running = compute.launch(launch).await.unwrap();
    // Held: the process never gets to its end, as its client reads nothing.
    let log = bed.log(&id);
    let mut size = 0;
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let now = std::fs::metadata(&log).unwrap().len();
        if now == size && now > 1 << 20 {
            break;
        }
        size = now;
    }
    assert_eq!(bed.logged(&id, "stderr"), "");
    compute.signal(&id, None, KILL).await.unwrap();
    assert_eq!(end(&mut running).await.0.code, 137);
    compute.release(&id).await.unwrap();
    // What was queued still comes: exactly what is in the log.
    let [out, _] = split(&client.rest().await);
    assert!(out == bed.logged(&id, "stdout"));
    assert_eq!(within(client.ended).await.unwrap(), AttachEnd::Closed);
}

async fn terminal_resize_and_detach(bed: &Bed) {
    let compute = bed.compute();
    let script = "trap 'stty size' WINCH; tty; while true; do read x && echo said $x; done";
    let mut launch = bed.launch(&["sh", "-c", script]);
    let program = process(&mut launch.spec);
    program.terminal = true;
    program.console_size = Some(ConsoleSize {
        height: 10,
        width: 20,
    });
    launch.open_stdin = true;
    let (attachment, mut first) = client(true);
    launch.attachments.push(attachment);
    let id = launch.id.clone();
    let mut running = compute.launch(launch).await.unwrap();
    first.until("/dev/pts/0\r\n").await;
    first.stream.write_all(b"hello\n").await.unwrap();
    first.until("said hello\r\n").await;
    let size = ConsoleSize {
        height: 33,
        width: 44,
    };
    compute.resize(&id, None, size).await.unwrap();
    first.stream.write_all(b"x\n").await.unwrap();
    first.until("33 44\r\n").await;
    // Detach keys in two writes; the container goes on.
    first.stream.write_all(b"\x10").await.unwrap();
    first.stream.write_all(b"\x11ignored").await.unwrap();
    assert_eq!(within(first.ended).await.unwrap(), AttachEnd::Detached);
    let (attachment, mut second) = client(true);
    compute.attach(&id, None, attachment).await.unwrap();
    second.stream.write_all(b"again\n").await.unwrap();
    second.until("said again\r\n").await;
    compute.signal(&id, None, KILL).await.unwrap();
    assert_eq!(end(&mut running).await.0.code, 137);
    second.rest().await;
    assert!(bed.logged(&id, "stdout").contains("said hello\r\n"));
    compute.release(&id).await.unwrap();
}

fn exec(exec_id: &str, args: &[&str]) -> Exec {
    Exec {
        exec_id: exec_id.into(),
        process: Program {
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            env: vec!["PATH=/bin".into()],
            cwd: "/".into(),
            ..Default::default()
        },
        identity: Identity::default(),
        open_stdin: false,
        attachment: None,
        unconfined: false,
    }
}

async fn execs(bed: &Bed) {
    let compute = bed.compute();
    let launch = bed.launch(&["sleep", "1000"]);
    let id = launch.id.clone();
    let mut running = compute.launch(launch).await.unwrap();
    let done = compute
        .exec(&id, exec("a", &["sh", "-c", "exit 3"]))
        .await
        .unwrap();
    assert_eq!(within(done.exit).await.unwrap().code, 3);
    let mut with_client = exec("b", &["sh", "-c", "id -u; cat; echo e >&2"]);
    with_client.identity.user = "web".into();
    with_client.open_stdin = true;
    let (attachment, mut io) = client(true);
    with_client.attachment = Some(attachment);
    let done = compute.exec(&id, with_client).await.unwrap();
    io.stream.write_all(b"input").await.unwrap();
    io.stream.shutdown().await.unwrap();
    let [out, err] = split(&io.rest().await);
    assert_eq!((out.as_str(), err.as_str()), ("33\ninput", "e\n"));
    assert_eq!(within(done.exit).await.unwrap().code, 0);
    let mut on_terminal = exec("c", &["sh", "-c", "tty; read x; echo $x; exit 9"]);
    on_terminal.process.terminal = true;
    on_terminal.open_stdin = true;
    let (attachment, mut io) = client(true);
    on_terminal.attachment = Some(attachment);
    let done = compute.exec(&id, on_terminal).await.unwrap();
    io.until("/dev/pts/").await;
    let size = ConsoleSize {
        height: 5,
        width: 6,
    };
    compute.resize(&id, Some("c"), size).await.unwrap();
    io.stream.write_all(b"typed\n").await.unwrap();
    assert_eq!(within(done.exit).await.unwrap().code, 9);
    assert!(String::from_utf8_lossy(&io.rest().await).ends_with("typed\r\n"));
    let error = compute
        .exec(&id, exec("d", &["nothing"]))
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::CommandNotFound, "{error}");
    // A background child that keeps the stream does not hold the end.
    let mut background = exec("e", &["sh", "-c", "sleep 999 & echo started"]);
    let (attachment, mut io) = client(false);
    background.attachment = Some(attachment);
    let done = compute.exec(&id, background).await.unwrap();
    assert_eq!(within(done.exit).await.unwrap().code, 0);
    assert_eq!(split(&io.rest().await)[0], "started\n");
    // Killed, and taken down by the container.
    let one = compute
        .exec(&id, exec("f", &["sleep", "1000"]))
        .await
        .unwrap();
    let two = compute
        .exec(&id, exec("g", &["sleep", "1000"]))
        .await
        .unwrap();
    assert!(compute.processes(&id).await.unwrap().contains(&two.pid));
    compute.signal(&id, Some("f"), TERM).await.unwrap();
    assert_eq!(within(one.exit).await.unwrap().code, 143);
    let error = compute.signal(&id, Some("f"), TERM).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
    compute.signal(&id, None, KILL).await.unwrap();
    assert_eq!(within(two.exit).await.unwrap().code, 137);
    assert_eq!(end(&mut running).await.0.code, 137);
    compute.release(&id).await.unwrap();
}

async fn killed_keeper(bed: &Bed) {
    let compute = bed.compute();
    let launch = bed.launch(&["sh", "-c", "sleep 1000 & sleep 1000"]);
    let id = launch.id.clone();
    let mut running = compute.launch(launch).await.unwrap();
    sys::process::kill(keeper(&running), KILL).unwrap();
    let (exit, _) = end(&mut running).await;
    assert_eq!(exit.code, 137);
    assert!(exit.error.unwrap().contains("keeper"));
    compute.release(&id).await.unwrap();
    // Dead; that it is reaped is up to the host's pid 1.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.pid));
    assert!(stat.is_err() || stat.unwrap().contains(") Z "));
}

async fn adoption(bed: &Bed) {
    let before = bed.compute();
    let mut launch = bed.launch(&["sh", "-c", "read x; echo $x; exit 4"]);
    launch.open_stdin = true;
    let id = launch.id.clone();
    let running = before.launch(launch).await.unwrap();
    let mut short = bed.launch(&["sh", "-c", "read x; exit 6"]);
    short.open_stdin = true;
    short.stdin_once = true;
    let (attachment, stdin) = client(true);
    short.attachments.push(attachment);
    let short_id = short.id.clone();
    before.launch(short).await.unwrap();
    let killed = bed.launch(&["sleep", "1000"]);
    let killed_id = killed.id.clone();
    let killed = before.launch(killed).await.unwrap();
    let killed_keeper = keeper(&killed);
    before
        .exec(&id, exec("e", &["sleep", "1000"]))
        .await
        .unwrap();
    let pid = running.pid;
    drop((before, running, killed));

    // While no daemon runs, one container ends by itself and one loses its keeper.
    drop(stdin);
    let exit_file = bed.keeper_dir(&short_id).join("exit");
    within(async {
        while !exit_file.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    sys::process::kill(killed_keeper, KILL).unwrap();

    let after = bed.compute();
    let mut known = after.known().await.unwrap();
    known.sort();
    let mut expected = vec![id.clone(), short_id.clone(), killed_id.clone()];
    expected.sort();
    assert_eq!(known, expected);
    let Adopted::Running(mut running) = after.adopt(&id).await.unwrap() else {
        panic!("not running")
    };
    assert_eq!(running.pid, pid);
    match after.adopt(&short_id).await.unwrap() {
        Adopted::Exited(exit) => assert_eq!(exit.code, 6),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        after.adopt(&killed_id).await.unwrap(),
        Adopted::Gone
    ));
    assert!(matches!(
        after.adopt("unheard-of").await.unwrap(),
        Adopted::Gone
    ));
    after.signal(&id, Some("e"), KILL).await.unwrap();
    let (attachment, mut io) = client(true);
    after.attach(&id, None, attachment).await.unwrap();
    io.stream.write_all(b"still here\n").await.unwrap();
    assert_eq!(end(&mut running).await.0.code, 4);
    assert_eq!(split(&io.rest().await)[0], "still here\n");
    for id in expected {
        after.release(&id).await.unwrap();
    }
}

async fn pause_update_usage(bed: &Bed) {
    let compute = bed.compute();
    let launch = bed.launch(&["sh", "-c", "while true; do :; done"]);
    let id = launch.id.clone();
    let mut running = compute.launch(launch).await.unwrap();
    compute.pause(&id).await.unwrap();
    assert_eq!(compute.pause(&id).await.unwrap_err().kind, Kind::Conflict);
    let first = compute.usage(&id).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let second = compute.usage(&id).await.unwrap();
    assert_eq!(first.cpu.total, second.cpu.total, "frozen");
    assert_eq!(second.pids.current, 1);
    compute.resume(&id).await.unwrap();
    assert_eq!(compute.resume(&id).await.unwrap_err().kind, Kind::Conflict);
    let limits = Resources {
        memory: Some(Memory {
            limit: Some(64 << 20),
            ..Default::default()
        }),
        ..Default::default()
    };
    compute.update(&id, &limits).await.unwrap();
    assert_eq!(compute.usage(&id).await.unwrap().memory.limit, 64 << 20);
    let root = compute.root(&id).await.unwrap();
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let mode = rustix::fs::Mode::empty();
    rustix::fs::openat(&root, "etc/passwd", flags, mode).unwrap();
    // Dead even when frozen.
    compute.pause(&id).await.unwrap();
    compute.release(&id).await.unwrap();
    assert_eq!(end(&mut running).await.0.code, 137);
}

async fn out_of_memory(bed: &Bed) {
    let compute = bed.compute();
    let mut launch = bed.launch(&["sh", "-c", "x=x; while true; do x=$x$x; done"]);
    linux(&mut launch.spec).resources = Some(Resources {
        memory: Some(Memory {
            limit: Some(16 << 20),
            swap: Some(16 << 20),
            ..Default::default()
        }),
        ..Default::default()
    });
    let id = launch.id.clone();
    let mut running = compute.launch(launch).await.unwrap();
    let (exit, told) = end(&mut running).await;
    assert_eq!((exit.code, exit.oom_killed, told), (137, true, true));
    compute.release(&id).await.unwrap();
}

async fn release_kills(bed: &Bed) {
    let compute = bed.compute();
    let launch = bed.launch(&["sh", "-c", "sleep 1000 & sleep 1000"]);
    let id = launch.id.clone();
    let mut running = compute.launch(launch).await.unwrap();
    compute.release(&id).await.unwrap();
    assert_eq!(end(&mut running).await.0.code, 137);
    // A run that was not released is taken away by the next.
    let mut launch = bed.launch(&["true"]);
    launch.id = id.clone();
    let mut running = compute.launch(launch).await.unwrap();
    end(&mut running).await;
    let mut launch = bed.launch(&["sh", "-c", "exit 2"]);
    launch.id = id.clone();
    let mut running = compute.launch(launch).await.unwrap();
    assert_eq!(end(&mut running).await.0.code, 2);
    compute.release(&id).await.unwrap();
}

async fn many_at_once(bed: &Bed) {
    let compute = std::sync::Arc::new(bed.compute());
    let mut tasks = Vec::new();
    for n in 0..50 {
        let launch = bed.launch(&["sh", "-c", &format!("echo {n}; exit {n}")]);
        let compute = std::sync::Arc::clone(&compute);
        tasks.push(tokio::spawn(async move {
            let id = launch.id.clone();
            let mut running = compute.launch(launch).await.unwrap();
            let (exit, _) = end(&mut running).await;
            compute.release(&id).await.unwrap();
            (id, exit.code)
        }));
    }
    for (n, task) in (0..).zip(tasks) {
        let (id, code) = task.await.unwrap();
        assert_eq!(code, n);
        assert_eq!(bed.logged(&id, "stdout"), format!("{n}\n"));
    }
}
