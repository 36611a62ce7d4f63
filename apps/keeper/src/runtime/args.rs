//! Command lines by table: `--name value`, `--name=value`, `-n value`, `-nvalue`, `-name`,
//! switches, and `--` as the end of options. Options may stand behind the container's id, except
//! where a foreign command line follows.

use super::fail::{Fail, Result};

/// One option.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opt {
    /// Long name.
    pub(crate) name: &'static str,
    /// Short one.
    pub(crate) short: Option<char>,
    /// It takes a value.
    pub(crate) value: bool,
    /// One line of help; empty hides it.
    pub(crate) help: &'static str,
}

/// An option with a value.
pub(crate) const fn value(name: &'static str, short: Option<char>, help: &'static str) -> Opt {
    Opt {
        name,
        short,
        value: true,
        help,
    }
}

/// A switch.
pub(crate) const fn switch(name: &'static str, short: Option<char>, help: &'static str) -> Opt {
    Opt {
        name,
        short,
        value: false,
        help,
    }
}

/// One command of the program.
#[derive(Debug)]
pub(crate) struct Command {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it does, in a line.
    pub(crate) about: &'static str,
    /// Its arguments, and what they are.
    pub(crate) usage: &'static str,
    /// Its options.
    pub(crate) options: &'static [Opt],
    /// Options end at the first argument.
    pub(crate) stop: bool,
}

/// A parsed command line.
#[derive(Debug, Default)]
pub(crate) struct Args {
    given: Vec<(&'static str, String)>,
    /// What is not an option.
    pub(crate) rest: Vec<String>,
    /// `--help` was among them.
    pub(crate) help: bool,
}

impl Args {
    /// Sorts the arguments by the table; with `stop` options end at the first other argument.
    pub(crate) fn parse(args: &[String], options: &[Opt], stop: bool) -> Result<Self> {
        let mut out = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if arg == "--" {
                out.rest.extend(args.cloned());
                break;
            }
            if arg == "-" || !arg.starts_with('-') {
                out.rest.push(arg.clone());
                if stop {
                    out.rest.extend(args.cloned());
                    break;
                }
                continue;
            }
            out.one(arg, options, &mut args)?;
        }
        Ok(out)
    }

    fn one(
        &mut self,
        arg: &str,
        options: &[Opt],
        more: &mut std::slice::Iter<'_, String>,
    ) -> Result<()> {
        let bare = arg.trim_start_matches('-');
        let (name, attached) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (bare, None),
        };
        if matches!(name, "help" | "h") && !options.iter().any(|o| o.short == Some('h')) {
            self.help = true;
            return Ok(());
        }
        let single = |name: &str, o: &Opt| o.short.is_some_and(|c| name.chars().eq([c]));
        if let Some(o) = options.iter().find(|o| o.name == name || single(name, o)) {
            return self.take(o, attached, more);
        }
        if arg.starts_with("--") {
            return Err(Fail::Said(format!(
                "flag provided but not defined: -{name}"
            )));
        }
        self.cluster(bare, options, more)
    }

    /// `-tu 1000`, `-u1000`: short options in one word.
    fn cluster(
        &mut self,
        word: &str,
        options: &[Opt],
        more: &mut std::slice::Iter<'_, String>,
    ) -> Result<()> {
        let mut chars = word.chars();
        while let Some(c) = chars.next() {
            let Some(o) = options.iter().find(|o| o.short == Some(c)) else {
                return Err(Fail::Said(format!(
                    "flag provided but not defined: -{word}"
                )));
            };
            let rest = chars.as_str();
            if o.value && !rest.is_empty() {
                let rest = rest.strip_prefix('=').unwrap_or(rest);
                return self.take(o, Some(rest.to_owned()), more);
            }
            self.take(o, None, more)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        o: &Opt,
        attached: Option<String>,
        more: &mut std::slice::Iter<'_, String>,
    ) -> Result<()> {
        let value = match (o.value, attached) {
            (true, Some(value)) => value,
            (true, None) => more
                .next()
                .cloned()
                .ok_or_else(|| Fail::Said(format!("flag needs an argument: -{}", o.name)))?,
            (false, None) => "true".to_owned(),
            (false, Some(value)) if matches!(value.as_str(), "true" | "false" | "1" | "0") => {
                if matches!(value.as_str(), "true" | "1") {
                    "true".to_owned()
                } else {
                    "false".to_owned()
                }
            }
            (false, Some(value)) => {
                return Err(Fail::Said(format!(
                    "invalid boolean value {value:?} for -{}",
                    o.name
                )));
            }
        };
        self.given.push((o.name, value));
        Ok(())
    }

    /// The last value of an option.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut given = self.given.iter().rev();
        given.find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    /// The last value that is not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|v| !v.is_empty())
    }

    /// Every value of an option that may be repeated.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let given = self.given.iter().filter(move |(n, _)| *n == name);
        given.map(|(_, v)| v.as_str())
    }

    /// A switch.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// A value that is a number.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        match self.text(name) {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(n) => Ok(Some(n)),
                Err(_) => Err(Fail::Said(format!("invalid value {text:?} for {name}"))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [Opt; 3] = [
        value("bundle", Some('b'), "x"),
        switch("tty", Some('t'), "x"),
        switch("detach", Some('d'), "x"),
    ];

    fn parse(line: &str, stop: bool) -> Result<Args> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Args::parse(&words, &TABLE, stop)
    }

    #[test]
    fn forms() {
        for line in [
            "--bundle /b id",
            "-b /b id",
            "--bundle=/b id",
            "id -b/b",
            "-bundle /b id",
        ] {
            let args = parse(line, false).unwrap();
            assert_eq!(args.get("bundle"), Some("/b"), "{line}");
            assert_eq!(args.rest, ["id"], "{line}");
        }
        let args = parse("-td id", false).unwrap();
        assert!(args.has("tty") && args.has("detach"));
        assert!(!parse("--tty=false id", false).unwrap().has("tty"));
    }

    #[test]
    fn foreign_options_stay() {
        let args = parse("-t id ls -la --bundle", true).unwrap();
        assert_eq!(args.rest, ["id", "ls", "-la", "--bundle"]);
        assert_eq!(parse("-- -t", false).unwrap().rest, ["-t"]);
    }

    #[test]
    fn mistakes() {
        let text = |line| parse(line, false).unwrap_err().to_string();
        assert_eq!(text("--nope"), "flag provided but not defined: -nope");
        assert_eq!(text("-b"), "flag needs an argument: -bundle");
    }
}
