//! `--change`: Dockerfile instructions that change an image's defaults.

use oci::image::{Empty, Execution, Healthcheck};

use super::words::{self, Variables};
use crate::{Error, Result, signal};

/// What the instructions make of `execution`.
///
/// # Errors
/// Invalid parameter, naming the instruction.
pub(super) fn apply(changes: &[String], execution: Execution) -> Result<Execution> {
    let mut target = Target {
        execution,
        command_given: false,
    };
    for line in lines(changes) {
        target.instruction(&line)?;
    }
    Ok(target.execution)
}

/// Logical lines: continued ones joined, comments and empty ones left out.
fn lines(changes: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for change in changes {
        let mut line = String::new();
        for part in change.lines() {
            let part = part.trim();
            if part.starts_with('#') {
                continue;
            }
            match part.strip_suffix('\\') {
                Some(part) => line.push_str(part),
                None => {
                    line.push_str(part);
                    found.push(std::mem::take(&mut line));
                }
            }
        }
        found.push(line);
    }
    found.retain(|line| !line.trim().is_empty());
    found
}

struct Target {
    execution: Execution,
    /// CMD was given: an ENTRYPOINT does not take it away.
    command_given: bool,
}

impl Target {
    fn instruction(&mut self, line: &str) -> Result<()> {
        let line = line.trim();
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let (name, rest) = (name.to_ascii_uppercase(), rest.trim());
        if rest.is_empty() && !matches!(name.as_str(), "CMD" | "ENTRYPOINT" | "ONBUILD") {
            return Err(Error::invalid(format!(
                "{name} requires at least one argument"
            )));
        }
        let execution = &mut self.execution;
        match name.as_str() {
            "CMD" => {
                execution.cmd = Some(command(rest, &execution.shell));
                self.command_given = true;
            }
            "ENTRYPOINT" => {
                execution.entrypoint = Some(command(rest, &execution.shell));
                if !self.command_given {
                    execution.cmd = None;
                }
            }
            "ENV" => {
                for (key, value) in self.pairs("ENV", rest)? {
                    set_variable(&mut self.execution.env, &key, &value);
                }
            }
            "LABEL" => {
                let pairs = self.pairs("LABEL", rest)?;
                self.execution.labels.extend(pairs);
            }
            "EXPOSE" => {
                for word in self.words(rest)? {
                    for port in ports(&word)? {
                        self.execution.exposed_ports.insert(port, Empty {});
                    }
                }
            }
            "USER" => self.execution.user = self.single("USER", rest)?,
            "WORKDIR" => self.workdir(rest)?,
            "VOLUME" => {
                let volumes = match json_list(rest) {
                    Some(list) => list,
                    None => self.words(rest)?,
                };
                for volume in volumes {
                    if volume.trim().is_empty() {
                        return Err(Error::invalid(
                            "VOLUME specified can not be an empty string",
                        ));
                    }
                    self.execution
                        .volumes
                        .insert(volume.trim().to_owned(), Empty {});
                }
            }
            "STOPSIGNAL" => {
                let name = self.single("STOPSIGNAL", rest)?;
                signal::parse(&name)?;
                self.execution.stop_signal = name;
            }
            "SHELL" => {
                self.execution.shell =
                    json_list(rest)
                        .filter(|list| !list.is_empty())
                        .ok_or_else(|| {
                            Error::invalid(format!(
                                "SHELL requires the arguments to be in JSON form: {rest}"
                            ))
                        })?;
            }
            "HEALTHCHECK" => self.execution.healthcheck = Some(healthcheck(rest)?),
            "ONBUILD" => self.on_build(rest)?,
            _ => {
                let name = name.to_ascii_lowercase();
                return Err(Error::invalid(format!(
                    "{name} is not a valid change command"
                )));
            }
        }
        Ok(())
    }

    fn workdir(&mut self, rest: &str) -> Result<()> {
        let path = self.single("WORKDIR", rest)?;
        let now = &self.execution.working_dir;
        let whole = if path.starts_with('/') {
            path
        } else {
            format!("{now}/{path}")
        };
        let mut names: Vec<&str> = Vec::new();
        for name in whole.split('/') {
            match name {
                "" | "." => {}
                ".." => drop(names.pop()),
                name => names.push(name),
            }
        }
        self.execution.working_dir = format!("/{}", names.join("/"));
        Ok(())
    }

    fn on_build(&mut self, rest: &str) -> Result<()> {
        let trigger = rest
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        match trigger.as_str() {
            "" => Err(Error::invalid("ONBUILD requires at least one argument")),
            "ONBUILD" => {
                let text = "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed";
                Err(Error::invalid(text))
            }
            "MAINTAINER" | "FROM" => Err(Error::invalid(format!(
                "{trigger} isn't allowed as an ONBUILD trigger"
            ))),
            _ => {
                self.execution.on_build.push(rest.to_owned());
                Ok(())
            }
        }
    }

    fn variables(&self) -> Variables {
        let pair = |entry: &String| {
            let (key, value) = entry.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        };
        self.execution.env.iter().filter_map(pair).collect()
    }

    fn words(&self, text: &str) -> Result<Vec<String>> {
        let variables = self.variables();
        words::split(text)?
            .iter()
            .map(|word| words::expand(word, &variables))
            .collect()
    }

    fn single(&self, name: &str, rest: &str) -> Result<String> {
        match self.words(rest)?.as_slice() {
            [word] if !word.is_empty() => Ok(word.clone()),
            _ => Err(Error::invalid(format!(
                "{name} requires exactly one argument"
            ))),
        }
    }

    /// `k=v k2="v 2"`, or the old `k the rest`.
    fn pairs(&self, name: &str, rest: &str) -> Result<Vec<(String, String)>> {
        let variables = self.variables();
        let split = words::split(rest)?;
        if !split.first().is_some_and(|word| word.contains('=')) {
            let (key, value) = rest
                .split_once(char::is_whitespace)
                .ok_or_else(|| Error::invalid(format!("{name} must have two arguments")))?;
            return Ok(vec![(
                key.to_owned(),
                words::expand(value.trim(), &variables)?,
            )]);
        }
        let pair = |word: &String| {
            let bad = || {
                let text = format!(
                    "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
                );
                Error::invalid(text)
            };
            let (key, value) = word.split_once('=').ok_or_else(bad)?;
            let key = words::expand(key, &variables)?;
            if key.is_empty() {
                return Err(Error::invalid(format!("{name} names can not be blank")));
            }
            Ok((key, words::expand(value, &variables)?))
        };
        split.iter().map(pair).collect()
    }
}

/// A JSON list, or a line for the shell.
fn command(rest: &str, shell: &[String]) -> Vec<String> {
    if let Some(list) = json_list(rest) {
        return list;
    }
    if rest.is_empty() {
        return Vec::new();
    }
    let mut words = match shell {
        [] => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        shell => shell.to_vec(),
    };
    words.push(rest.to_owned());
    words
}

fn json_list(text: &str) -> Option<Vec<String>> {
    if !text.starts_with('[') {
        return None;
    }
    serde_json::from_str(text).ok()
}

fn set_variable(env: &mut Vec<String>, key: &str, value: &str) {
    let entry = format!("{key}={value}");
    let has_key = |entry: &&mut String| entry.split('=').next() == Some(key);
    match env.iter_mut().find(has_key) {
        Some(old) => *old = entry,
        None => env.push(entry),
    }
}

/// `80`, `80/udp`, `8000-8010/tcp` → `port/protocol` keys.
fn ports(text: &str) -> Result<Vec<String>> {
    let bad = || Error::invalid(format!("invalid containerPort: {text}"));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(Error::invalid(format!("invalid proto: {protocol}")));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let port = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(bad)
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(bad());
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

/// `NONE`, or flags and `CMD …`.
fn healthcheck(rest: &str) -> Result<Healthcheck> {
    let mut check = Healthcheck::default();
    let mut rest = rest;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        let bad = || Error::invalid(format!("invalid value {value:?} of flag --{name}"));
        let duration = || {
            let parsed = value.parse::<jiff::SignedDuration>().map_err(|_| bad())?;
            i64::try_from(parsed.as_nanos())
                .ok()
                .filter(|nanos| *nanos >= 0)
                .ok_or_else(bad)
        };
        match name {
            "interval" => check.interval = duration()?,
            "timeout" => check.timeout = duration()?,
            "start-period" => check.start_period = duration()?,
            "start-interval" => check.start_interval = duration()?,
            "retries" => {
                check.retries = value.parse().ok().filter(|n| *n >= 0).ok_or_else(bad)?;
            }
            _ => return Err(Error::invalid(format!("unknown flag: --{name}"))),
        }
        rest = after.trim_start();
    }
    let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim();
    check.test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if rest.is_empty() => vec!["NONE".into()],
        "NONE" => return Err(Error::invalid("HEALTHCHECK NONE takes no arguments")),
        "CMD" if rest.is_empty() => {
            return Err(Error::invalid("missing command after HEALTHCHECK CMD"));
        }
        "CMD" => match json_list(rest) {
            Some(list) => [vec!["CMD".to_owned()], list].concat(),
            None => vec!["CMD-SHELL".into(), rest.into()],
        },
        kind => {
            let text = format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)");
            return Err(Error::invalid(text));
        }
    };
    Ok(check)
}

#[cfg(test)]
mod tests {
    use super::{Execution, apply};
    use crate::Result;

    fn applied(changes: &[&str]) -> Result<Execution> {
        apply(
            &changes
                .iter()
                .map(|change| (*change).to_owned())
                .collect::<Vec<_>>(),
            Execution::default(),
        )
    }

    fn strings(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn instructions() {
        let made = applied(&[
            "ENV A=1 B=\"two words\"\nENV C $A and more",
            "env A=3",
            "CMD [\"a\", \"b\"]",
            "ENTRYPOINT run it",
            "EXPOSE 80 53/udp 8000-8001",
            "LABEL x=y \\\n  z='$A'",
            "USER $A:staff",
            "WORKDIR /srv\nWORKDIR sub/../x",
            "VOLUME [\"/a b\"]",
            "VOLUME /c /d",
            "STOPSIGNAL SIGUSR1",
            "HEALTHCHECK --interval=1m30s --retries=3 CMD curl -f x",
            "ONBUILD RUN make",
        ])
        .expect("valid");
        assert_eq!(made.env, ["A=3", "B=two words", "C=1 and more"]);
        assert_eq!(made.cmd, strings(&["a", "b"]));
        assert_eq!(made.entrypoint, strings(&["/bin/sh", "-c", "run it"]));
        let ports: Vec<_> = made.exposed_ports.keys().map(String::as_str).collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp"]);
        assert_eq!(made.labels["z"], "$A");
        assert_eq!(made.user, "3:staff");
        assert_eq!(made.working_dir, "/srv/x");
        let volumes: Vec<_> = made.volumes.keys().map(String::as_str).collect();
        assert_eq!(volumes, ["/a b", "/c", "/d"]);
        let check = made.healthcheck.expect("a check");
        assert_eq!((check.interval, check.retries), (90_000_000_000, 3));
        assert_eq!(check.test, ["CMD-SHELL", "curl -f x"]);
        assert_eq!(made.on_build, ["RUN make"]);
        let shell = applied(&["SHELL [\"sh\"]", "CMD x"]).expect("valid");
        assert_eq!(shell.cmd, strings(&["sh", "x"]));
    }

    #[test]
    fn refused() {
        for (change, says) in [
            ("RUN x", "run is not a valid change command"),
            ("ENV", "at least one"),
            ("ENV A", "two arguments"),
            ("LABEL a=b c", "can't find ="),
            ("EXPOSE 70000", "invalid containerPort"),
            ("EXPOSE 1/x", "invalid proto"),
            ("USER a b", "exactly one"),
            ("STOPSIGNAL nothing", "invalid signal"),
            ("HEALTHCHECK --never=1 NONE", "unknown flag"),
            ("HEALTHCHECK CMD", "missing command"),
            ("ONBUILD FROM x", "isn't allowed"),
            ("SHELL sh", "JSON"),
        ] {
            let error = applied(&[change]).expect_err(change);
            assert!(error.message.contains(says), "{change}: {error}");
        }
    }
}
