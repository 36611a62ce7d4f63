//! The ps options that make sense for one container, in UNIX (`-ef`), BSD (`aux`) and GNU
//! (`--format`) style. Those that choose processes are accepted where they do not contradict:
//! the processes are always the container's.

use super::columns::{self, Column};
use crate::{Error, Result};

/// A column with the title to print.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) column: &'static Column,
    pub(super) title: String,
}

/// Columns for these options; they hold a PID column.
pub(super) fn parse(args: &str) -> Result<Vec<Wanted>> {
    let mut chosen = Chosen::default();
    let mut words = args.split_ascii_whitespace();
    while let Some(word) = words.next() {
        let mut value = || words.next();
        match word.strip_prefix("--") {
            Some(long) => chosen.long(long, &mut value)?,
            None => chosen.short(word, &mut value)?,
        }
    }
    let wanted = chosen.columns()?;
    if wanted.iter().any(|wanted| wanted.title == "PID") {
        Ok(wanted)
    } else {
        Err(Error::system("Couldn't find PID field in ps output"))
    }
}

#[derive(Default)]
struct Chosen {
    full: bool,
    long: bool,
    extra_full: bool,
    user: bool,
    bsd: bool,
    format: Vec<Wanted>,
}

impl Chosen {
    fn long<'a>(
        &mut self,
        word: &'a str,
        value: &mut impl FnMut() -> Option<&'a str>,
    ) -> Result<()> {
        let (name, given) = match word.split_once('=') {
            Some((name, given)) => (name, Some(given)),
            None => (word, None),
        };
        match name {
            "format" => {
                let list = given
                    .or_else(value)
                    .ok_or_else(|| needs_value("--format"))?;
                self.add_format(list)
            }
            "cols" | "columns" | "width" | "rows" | "lines" => given
                .or_else(value)
                .map(drop)
                .ok_or_else(|| needs_value(word)),
            "headers" => Ok(()),
            _ => Err(unsupported(&format!("--{name}"))),
        }
    }

    fn short<'a>(
        &mut self,
        word: &'a str,
        value: &mut impl FnMut() -> Option<&'a str>,
    ) -> Result<()> {
        let (letters, bsd) = match word.strip_prefix('-') {
            Some(letters) => (letters, false),
            None => (word, true),
        };
        if letters.is_empty() {
            return Err(unsupported(word));
        }
        for (at, letter) in letters.char_indices() {
            let rest = &letters[at + letter.len_utf8()..];
            match (bsd, letter) {
                // Which processes, and how wide: always the container's, always whole.
                (false, 'e' | 'A' | 'a' | 'd' | 'w') => {}
                (true, 'a' | 'x' | 'w' | 'e') => self.bsd = true,
                // procps takes `-aux` and `-ax` for the BSD options, too.
                (false, 'x') => self.bsd = true,
                (_, 'u') if bsd || letters.contains(['a', 'x']) => self.user = true,
                (false, 'f') => self.full = true,
                (false, 'F') => self.extra_full = true,
                (_, 'l') => self.long = true,
                (_, 'o') => {
                    let list = if rest.is_empty() { value() } else { Some(rest) };
                    return self.add_format(list.ok_or_else(|| needs_value("-o"))?);
                }
                _ => {
                    let dash = if bsd { "" } else { "-" };
                    return Err(unsupported(&format!("{dash}{letter}")));
                }
            }
        }
        Ok(())
    }

    /// `pid,comm` or `pid,comm=NAME`: a title goes on to the end.
    fn add_format(&mut self, list: &str) -> Result<()> {
        let mut rest = list;
        while !rest.is_empty() {
            let end = rest.find(['=', ',']).unwrap_or(rest.len());
            let column = columns::find(&rest[..end]).ok_or_else(|| {
                Error::invalid(format!(
                    "ps: error: unknown user-defined format specifier \"{}\"",
                    &rest[..end]
                ))
            })?;
            if let Some(title) = rest[end..].strip_prefix('=') {
                if title.is_empty() {
                    return Err(Error::invalid(format!(
                        "ps: column {} needs a title",
                        column.name
                    )));
                }
                if title.starts_with("PID") && column.name != "pid" {
                    let text = format!("specifying \"{}={title}\" is not allowed", column.name);
                    return Err(Error::system(text));
                }
                self.format.push(Wanted {
                    column,
                    title: title.to_owned(),
                });
                return Ok(());
            }
            self.format.push(Wanted {
                column,
                title: column.title.to_owned(),
            });
            rest = rest[end..].strip_prefix(',').unwrap_or_default();
        }
        Ok(())
    }

    fn columns(self) -> Result<Vec<Wanted>> {
        let styles = [
            self.full,
            self.long && !self.full,
            self.extra_full,
            self.user,
        ];
        if !self.format.is_empty() {
            if styles.contains(&true) {
                return Err(Error::system("ps: error: conflicting format options"));
            }
            return Ok(self.format);
        }
        let names: &[&str] = match self {
            Self { user: true, .. } => &columns::USER,
            Self {
                extra_full: true, ..
            } => &columns::EXTRA_FULL,
            Self {
                full: true,
                long: true,
                ..
            } => &columns::FULL_LONG,
            Self { full: true, .. } => &columns::FULL,
            Self { long: true, .. } => &columns::LONG,
            Self { bsd: true, .. } => &columns::BSD,
            _ => &columns::PLAIN,
        };
        let wanted = |name: &&str| {
            let (name, title) = name.split_once('=').unwrap_or((name, ""));
            let column = columns::find(name)?;
            let title = if title.is_empty() {
                column.title
            } else {
                title
            };
            Some(Wanted {
                column,
                title: title.to_owned(),
            })
        };
        Ok(names.iter().filter_map(wanted).collect())
    }
}

fn unsupported(option: &str) -> Error {
    Error::invalid(format!(
        "ps: error: unsupported option (option {option} is not supported by top)"
    ))
}

fn needs_value(option: &str) -> Error {
    Error::invalid(format!("ps: error: option {option} needs a value"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn titles(args: &str) -> String {
        let wanted = parse(args).expect(args);
        wanted
            .iter()
            .map(|wanted| wanted.title.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn styles() {
        let full = "UID PID PPID C STIME TTY TIME CMD";
        assert_eq!(titles("-ef"), full);
        assert_eq!(titles("-e -f"), full);
        let user = "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND";
        assert_eq!(titles("aux"), user);
        assert_eq!(titles("-aux"), user);
        assert_eq!(titles("auxww"), user);
        assert_eq!(titles("ax"), "PID TTY STAT TIME COMMAND");
        assert_eq!(titles("-e"), "PID TTY TIME CMD");
        assert_eq!(
            titles("-el"),
            "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD"
        );
    }

    #[test]
    fn formats() {
        assert_eq!(titles("-eo pid,comm"), "PID COMMAND");
        assert_eq!(titles("-o pid -o args=WHAT").split(' ').next(), Some("PID"));
        assert_eq!(titles("axo pid,tty,%cpu"), "PID TT %CPU");
        assert_eq!(titles("-opid,user=WHO"), "PID WHO");
        assert_eq!(titles("--format pid,stat"), "PID STAT");
    }

    #[test]
    fn refused() {
        for (args, names) in [
            ("-o comm", "PID"),
            ("-o pid,nonsense", "nonsense"),
            ("-p 1", "-p"),
            ("--forest", "--forest"),
            ("-o pid,comm=PID", "not allowed"),
            ("-o", "-o"),
            ("-efo pid", "conflicting"),
            ("-", "-"),
            ("-é", "é"),
        ] {
            let error = parse(args).expect_err(args);
            assert!(error.message.contains(names), "{args}: {error}");
        }
    }
}
