//! A row of the table: a flag of `docker run`, and what shows that it has its effect.

use std::panic::{AssertUnwindSafe, catch_unwind};

use e2e::Lab;

/// One flag of `docker run`.
#[derive(Debug)]
pub(crate) struct Row {
    /// Without its dashes.
    pub(crate) flag: &'static str,
    pub(crate) shows: Shows,
}

/// How the effect is seen: inside the container or in the kernel, never in what was asked for.
#[derive(Debug)]
pub(crate) enum Shows {
    /// Options, a script for the container's shell, and all that it prints.
    Prints(&'static [&'static str], &'static str, &'static str),
    /// Options, and files of the container's control group.
    Group(&'static [&'static str], Version1, Version2),
    /// Options that are refused: the client's exit code, and a part of what it says.
    Refused(&'static [&'static str], i32, &'static str),
    /// What needs steps of its own.
    By(fn(&Lab) -> Seen),
}

/// Controller, file, content.
pub(crate) type Version1 = (&'static str, &'static str, &'static str);

/// File and content; none where version 2 has no such thing.
pub(crate) type Version2 = Option<(&'static str, &'static str)>;

/// What steps of one's own came to; a failure panics.
#[derive(Debug)]
pub(crate) enum Seen {
    Yes,
    /// What the machine has not.
    Lacking(&'static str),
}

/// A row that takes steps of its own.
pub(crate) const fn by(flag: &'static str, steps: fn(&Lab) -> Seen) -> Row {
    Row {
        flag,
        shows: Shows::By(steps),
    }
}

/// A row whose script prints something.
pub(crate) const fn prints(
    flag: &'static str,
    options: &'static [&'static str],
    script: &'static str,
    printed: &'static str,
) -> Row {
    Row {
        flag,
        shows: Shows::Prints(options, script, printed),
    }
}

/// A row for a file of the control group.
pub(crate) const fn group(
    flag: &'static str,
    options: &'static [&'static str],
    v1: Version1,
    v2: Version2,
) -> Row {
    Row {
        flag,
        shows: Shows::Group(options, v1, v2),
    }
}

/// A row for what is refused.
pub(crate) const fn refused(
    flag: &'static str,
    options: &'static [&'static str],
    code: i32,
    text: &'static str,
) -> Row {
    Row {
        flag,
        shows: Shows::Refused(options, code, text),
    }
}

/// A shell in the image, with these options of `docker run --rm`.
#[track_caller]
pub(crate) fn sh(lab: &Lab, options: &[&str], script: &str) -> String {
    lab.ok(&[&["run", "--rm"], options, &["bb", "sh", "-c", script]].concat())
}

/// Looks at all rows before it says which of them failed.
pub(crate) fn check(lab: &Lab, rows: &[Row]) {
    let mut failed = Vec::new();
    for row in rows {
        let seen = catch_unwind(AssertUnwindSafe(|| look(lab, row)));
        match seen {
            Ok(Seen::Yes) => {}
            Ok(Seen::Lacking(reason)) => eprintln!("--{}: not looked at: {reason}", row.flag),
            Err(_) => failed.push(row.flag),
        }
    }
    assert!(failed.is_empty(), "without their effect: {failed:?}");
}

fn look(lab: &Lab, row: &Row) -> Seen {
    match &row.shows {
        Shows::Prints(options, script, printed) => {
            assert_eq!(sh(lab, options, script), *printed, "--{}", row.flag);
        }
        Shows::Refused(options, code, text) => {
            let run = [&["run", "--rm"], *options, &["bb", "true"]].concat();
            let said = lab.fails(*code, &run);
            assert!(said.contains(text), "--{}: {said}", row.flag);
        }
        Shows::By(steps) => return steps(lab),
        Shows::Group(options, v1, v2) => return in_group(lab, row.flag, options, v1, *v2),
    }
    Seen::Yes
}

fn in_group(lab: &Lab, flag: &str, options: &[&str], v1: &Version1, v2: Version2) -> Seen {
    let (controller, file, content) = match (lab.groups_are_v1(), v2) {
        (true, _) => *v1,
        (false, Some((file, content))) => (v1.0, file, content),
        (false, None) => return Seen::Lacking("control groups of version 2 have no such limit"),
    };
    lab.sleeper("plain", &[]);
    let kept = lab.group_path("plain", controller, file).is_some();
    lab.ok(&["rm", "-f", "plain"]);
    if !kept {
        return Seen::Lacking("this kernel's groups have no such file");
    }
    lab.sleeper("grouped", options);
    let found = lab.group_file("grouped", controller, file);
    lab.ok(&["rm", "-f", "grouped"]);
    assert_eq!(found, content, "--{flag}: {file}");
    Seen::Yes
}
