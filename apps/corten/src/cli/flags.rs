//! Reading options as pflag does: `--name value`, `--name=value`, `-n value`, `-nvalue`, `-abc`,
//! and `--` that ends them. Values are checked as they are read, so that errors name the option.

use super::spec::{Flag, Kind};
use super::values;

/// What was given.
#[derive(Debug)]
pub(crate) struct Parsed {
    flags: &'static [Flag],
    given: Vec<(&'static str, String)>,
    /// What is no option.
    pub(crate) args: Vec<String>,
    /// `--help` was among the options.
    pub(crate) help: bool,
    /// `-h` was, where it stands for `--help`.
    pub(crate) short_help: bool,
}

/// Reads options from `args`. With `interspersed` they may follow arguments; otherwise the first
/// argument ends them.
///
/// # Errors
/// The text to print before the usage.
pub(crate) fn parse(
    flags: &'static [Flag],
    args: &[String],
    interspersed: bool,
) -> Result<Parsed, String> {
    let mut parsed = Parsed {
        flags,
        given: Vec::new(),
        args: Vec::new(),
        help: false,
        short_help: false,
    };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            parsed.args.extend(rest.cloned());
            break;
        }
        if let Some(long) = arg.strip_prefix("--") {
            parsed.long(long, &mut rest)?;
        } else if arg.len() > 1 && arg.starts_with('-') {
            parsed.short(&arg[1..], &mut rest)?;
        } else {
            parsed.args.push(arg.clone());
            if !interspersed {
                parsed.args.extend(rest.cloned());
                break;
            }
        }
    }
    Ok(parsed)
}

impl Parsed {
    fn long(&mut self, text: &str, rest: &mut std::slice::Iter<'_, String>) -> Result<(), String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() || name.starts_with('-') || text.starts_with('=') {
            return Err(format!("bad flag syntax: --{text}"));
        }
        let Some(flag) = self.flag(alias(name)) else {
            if name == "help" {
                self.help = true;
                return Ok(());
            }
            return Err(format!("unknown flag: --{name}"));
        };
        let value = match value {
            Some(value) => value,
            None if flag.kind == Kind::Bool => "true".into(),
            None => rest
                .next()
                .cloned()
                .ok_or_else(|| format!("flag needs an argument: --{name}"))?,
        };
        self.set(flag, name, value)
    }

    fn short(&mut self, text: &str, rest: &mut std::slice::Iter<'_, String>) -> Result<(), String> {
        let letters = text.char_indices();
        for (at, letter) in letters {
            let Some(flag) = self.flags.iter().find(|flag| flag.short == letter) else {
                if letter == 'h' {
                    self.help = true;
                    self.short_help = true;
                    continue;
                }
                return Err(format!("unknown shorthand flag: {letter:?} in -{text}"));
            };
            let tail = &text[at + letter.len_utf8()..];
            if let Some(value) = tail.strip_prefix('=').filter(|_| !tail.is_empty()) {
                return self.set(flag, flag.name, value.to_owned());
            }
            if flag.kind == Kind::Bool {
                self.set(flag, flag.name, "true".into())?;
                continue;
            }
            let value = if tail.is_empty() {
                rest.next()
                    .cloned()
                    .ok_or_else(|| format!("flag needs an argument: {letter:?} in -{text}"))?
            } else {
                tail.to_owned()
            };
            return self.set(flag, flag.name, value);
        }
        Ok(())
    }

    fn set(&mut self, flag: &'static Flag, called: &str, value: String) -> Result<(), String> {
        if let Err(error) = values::check(flag, &value) {
            // An old name has no letter of its own.
            let letters = match flag.short {
                letter if letter != '\0' && called == flag.name => {
                    format!("-{letter}, --{}", flag.name)
                }
                _ => format!("--{called}"),
            };
            return Err(format!(
                "invalid argument {value:?} for {letters:?} flag: {error}"
            ));
        }
        if flag.name == "help" {
            self.help = value == "true";
            return Ok(());
        }
        self.given.push((flag.name, value));
        Ok(())
    }

    fn flag(&self, name: &str) -> Option<&'static Flag> {
        self.flags.iter().find(|flag| flag.name == name)
    }

    /// Whether the option was given.
    pub(crate) fn changed(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == name)
    }

    /// Whether any option was given at all.
    pub(crate) fn any(&self) -> bool {
        !self.given.is_empty()
    }

    /// Last value given, or the default.
    pub(crate) fn text(&self, name: &str) -> &str {
        let given = self.given.iter().rev().find(|(given, _)| *given == name);
        match given {
            Some((_, value)) => value,
            None => self.flag(name).map_or("", |flag| flag.default),
        }
    }

    /// Whether a switch is on.
    pub(crate) fn on(&self, name: &str) -> bool {
        values::parse_bool(self.text(name)).unwrap_or(false)
    }

    /// Value of a number, 0 without a default.
    pub(crate) fn int(&self, name: &str) -> i64 {
        values::parse_int(self.text(name)).unwrap_or(0)
    }

    /// Value of an option with a unit: bytes, nanoseconds or billionths; 0 when not given.
    pub(crate) fn quantity(&self, name: &str) -> i64 {
        self.flag(name)
            .and_then(|flag| values::quantity(flag.kind, self.text(name)).ok())
            .unwrap_or(0)
    }

    /// All values, in the order given.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.given
            .iter()
            .filter(|(given, _)| *given == name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// All values of a comma-separated list.
    pub(crate) fn strings(&self, name: &str) -> Vec<String> {
        self.list(name)
            .iter()
            .flat_map(|value| value.split(','))
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

/// Old names that docker still takes.
fn alias(name: &str) -> &str {
    match name {
        "net" => "network",
        "net-alias" => "network-alias",
        "dns-opt" => "dns-option",
        "time" => "timeout",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::cli::spec::{Found, find};

    fn run(args: &[&str]) -> Result<super::Parsed, String> {
        let Found::Command(command, ..) = find(&["run".into()]) else {
            panic!("run is a command");
        };
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        parse(command.flags, &args, command.interspersed)
    }

    #[test]
    fn forms() {
        let parsed = run(&[
            "-itp80:80",
            "-e=A=1",
            "-e",
            "B=2",
            "--rm=false",
            "--name",
            "x",
            "img",
            "-x",
            "--y",
        ])
        .expect("valid");
        assert!(parsed.on("interactive") && parsed.on("tty") && !parsed.on("rm"));
        assert_eq!(parsed.list("publish"), ["80:80"]);
        assert_eq!(parsed.list("env"), ["A=1", "B=2"]);
        assert_eq!(parsed.args, ["img", "-x", "--y"]);
    }

    #[test]
    fn errors() {
        for (args, want) in [
            (&["--foo"][..], "unknown flag: --foo"),
            (&["-Z"], "unknown shorthand flag: 'Z' in -Z"),
            (&["--name"], "flag needs an argument: --name"),
            (&["-ie"], "flag needs an argument: 'e' in -ie"),
            (
                &["-m", "abc"],
                "invalid argument \"abc\" for \"-m, --memory\" flag: invalid size: 'abc'",
            ),
            (
                &["--rm=foo"],
                "invalid argument \"foo\" for \"--rm\" flag: strconv.ParseBool: parsing \"foo\": invalid syntax",
            ),
        ] {
            assert_eq!(run(args).expect_err("invalid"), want);
        }
    }
}
