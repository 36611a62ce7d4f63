//! Corten's command line, called as `docker`, against the stock docker CLI: the same words, the same
//! engine, and every byte of output, errors and the exit code compared.
//!
//! What is read is compared as it stands, again when a clock moved on in between. What changes the
//! engine is played once by each, and IDs and times are blanked out.

use e2e::{Lab, Ran, Twin, root};

mod cases;

/// Why outputs of these may differ. Anything else that differs is a fault of ours.
const INTENDED: &[(&str, &str)] = &[
    ("version", "the client part tells the program's own version"),
    (
        "info",
        "the client part tells the program's own version and plugins",
    ),
    ("--version", "the program's own version"),
    (
        "--help",
        "commands that are not there are not listed, `corten daemon` is",
    ),
    ("image --help", "`build` and `push` are not there"),
    ("network --help", "networks cannot be made yet"),
    ("--context nowhere ps", "contexts are not there yet"),
];

/// What docker 28 misspells, and what it means.
const SLIPS: &[(&str, &str)] = &[("\n\nSRun 'docker", "\n\nRun 'docker")];

/// A line's words, as a shell would split them.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn run(lab: &Lab, twin: Twin, line: &str) -> Ran {
    let words = words(line);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut ran = twin.run(lab, &words);
    for (theirs, meant) in SLIPS {
        ran.err = ran.err.replace(theirs, meant);
    }
    // docker's own log: of a wait that it makes beside a start that failed.
    let own_log = |line: &&str| !line.starts_with("time=\"");
    ran.err = ran.err.split_inclusive('\n').filter(own_log).collect();
    ran
}

fn same(a: &Ran, b: &Ran) -> bool {
    (a.code, &a.out, &a.err) == (b.code, &b.out, &b.err)
}

/// What differs, for whoever reads the test's output.
fn difference(line: &str, stock: &Ran, ours: &Ran) -> String {
    let mut text = format!("── docker {line}\n");
    if stock.code != ours.code {
        text += &format!("   code: docker {}, corten {}\n", stock.code, ours.code);
    }
    for (name, theirs, own) in [
        ("out", &stock.out, &ours.out),
        ("err", &stock.err, &ours.err),
    ] {
        if theirs == own {
            continue;
        }
        let (theirs, own): (Vec<&str>, Vec<&str>) =
            (theirs.split('\n').collect(), own.split('\n').collect());
        let differing = (0..theirs.len().max(own.len())).filter(|n| theirs.get(*n) != own.get(*n));
        // After the first few, lines are only shifted.
        for n in differing.take(6) {
            let (docker, corten) = (theirs.get(n), own.get(n));
            text +=
                &format!("   {name} {n}: docker {docker:?}\n   {name} {n}: corten {corten:?}\n");
        }
    }
    text
}

/// Compares lines that change nothing, and returns what differs.
fn compare(lab: &Lab, lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for line in lines {
        if INTENDED.iter().any(|(intended, _)| *intended == line) {
            continue;
        }
        let mut last = None;
        // "3 seconds ago" may become 4 between the two.
        for _ in 0..4 {
            let (stock, ours) = (run(lab, Twin::Stock, &line), run(lab, Twin::Ours, &line));
            if same(&stock, &ours) {
                last = None;
                break;
            }
            last = Some(difference(&line, &stock, &ours));
        }
        wrong.extend(last);
    }
    wrong
}

#[track_caller]
fn nothing_wrong(wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// IDs, times and durations blanked out, and runs of blanks that come from their width.
fn blanked(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some((what, length)) = variable(rest) {
            out.push_str(what);
            rest = &rest[length..];
        } else if first.is_ascii_alphanumeric() {
            // Whole words: half of one is no ID.
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric());
            let (word, tail) = rest.split_at(end.unwrap_or(rest.len()));
            out.push_str(word);
            rest = tail;
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// Something that differs from run to run at the start of `text`, and its length.
fn variable(text: &str) -> Option<(&'static str, usize)> {
    let hex = text
        .bytes()
        .take_while(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        .count();
    let ends = |n: usize| !text[n..].starts_with(|c: char| c.is_ascii_alphanumeric());
    if matches!(hex, 12 | 64) && ends(hex) {
        return Some(("<id>", hex));
    }
    let digits = |from: usize, n: usize| {
        let part = text.as_bytes().get(from..from + n);
        part.is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    if digits(0, 4) && text.get(4..5) == Some("-") && digits(5, 2) && digits(8, 2) && digits(11, 2)
    {
        let length = text
            .bytes()
            .take_while(|b| b"0123456789-:.TZ+ ".contains(b))
            .count();
        return Some(("<time>", text[..length].trim_end().len()));
    }
    None
}

/// Plays a scene and cleans up behind it.
#[allow(clippy::print_stdout, reason = "shown when the test fails or hangs")]
fn play(lab: &Lab, twin: Twin, scene: &[&str]) -> Vec<(String, Ran)> {
    let played = scene
        .iter()
        .map(|line| {
            println!("{twin:?}: docker {line}");
            let mut ran = run(lab, twin, line);
            ran.out = blanked(&ran.out);
            ran.err = blanked(&ran.err);
            ((*line).to_owned(), ran)
        })
        .collect();
    let all = lab.docker(&["ps", "-aq"]);
    let ids: Vec<&str> = all.out.split_whitespace().collect();
    if !ids.is_empty() {
        lab.docker(&[&["rm", "-f", "-v"], ids.as_slice()].concat());
    }
    for file in ["out.tar", "cid", "copied", "saved"] {
        let path = lab.path(file);
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_dir_all(&path);
    }
    played
}

#[test]
fn help_of_every_command() {
    if !root() {
        return;
    }
    let lab = Lab::with(e2e::Options {
        no_image: true,
        ..Default::default()
    });
    let lines = cases::COMMANDS
        .iter()
        .flat_map(|command| [format!("{command} --help"), format!("help {command}")]);
    nothing_wrong(&compare(&lab, lines));
}

#[test]
fn wrong_options_and_counts_of_arguments() {
    if !root() {
        return;
    }
    let lab = Lab::with(e2e::Options {
        no_image: true,
        ..Default::default()
    });
    let wrong = cases::COMMANDS.iter().flat_map(|command| {
        [
            format!("{command} --bogus"),
            format!("{command} -Z"),
            format!("{command} --bogus=1 x"),
        ]
    });
    let none = cases::WITH_ARGUMENTS
        .iter()
        .map(|command| (*command).to_owned());
    let many = cases::LIMITED
        .iter()
        .map(|command| format!("{command} a b c d"));
    let own = cases::WRONG.iter().map(|line| (*line).to_owned());
    nothing_wrong(&compare(&lab, wrong.chain(none).chain(many).chain(own)));
}

/// An engine that publishes ports by the kernel alone: who forwards is not what is compared.
fn published() -> Lab {
    Lab::with(e2e::Options {
        flags: vec!["--userland-proxy=false".into()],
        ..Default::default()
    })
}

#[test]
fn what_is_read() {
    if !root() {
        return;
    }
    let lab = published();
    for line in cases::STAGE {
        let ran = run(&lab, Twin::Stock, line);
        assert!(ran.code == 0 || line.contains("exit 3"), "{line}: {ran:?}");
    }
    nothing_wrong(&compare(
        &lab,
        cases::READS.iter().map(|line| (*line).to_owned()),
    ));
}

#[test]
fn the_engine_s_part_of_version_and_info() {
    if !root() {
        return;
    }
    let lab = Lab::new();
    for command in ["version", "info"] {
        let server = |twin| {
            let ran = run(&lab, twin, command);
            assert_eq!(ran.code, 0, "{ran:?}");
            let at = ran.out.find("\nServer:").expect("the engine's part");
            // docker 28.2 does not show the firewall yet, later ones do.
            let lines = ran.out[at..].split_inclusive('\n');
            let shown = lines.filter(|line| !line.starts_with(" Firewall Backend:"));
            // It lists runtimes in an order that changes from run to run.
            let ordered = shown.map(|line| match line.strip_prefix(" Runtimes:") {
                Some(names) => {
                    let mut names: Vec<&str> = names.split_whitespace().collect();
                    names.sort_unstable();
                    format!(" Runtimes: {}\n", names.join(" "))
                }
                None => line.to_owned(),
            });
            ordered.collect::<String>()
        };
        assert_eq!(server(Twin::Stock), server(Twin::Ours));
    }
}

#[test]
fn what_changes_the_engine() {
    if !root() {
        return;
    }
    let lab = published();
    let mut wrong = Vec::new();
    for scene in cases::SCENES {
        let stock = play(&lab, Twin::Stock, scene);
        let ours = play(&lab, Twin::Ours, scene);
        for ((line, stock), (_, ours)) in stock.iter().zip(&ours) {
            if !same(stock, ours) {
                wrong.push(difference(line, stock, ours));
            }
        }
    }
    nothing_wrong(&wrong);
}
