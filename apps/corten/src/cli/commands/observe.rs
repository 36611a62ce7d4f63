//! `events`, `port`, `top` and `diff`.

use client::Query;
use dockerapi::Event;
use gotemplate::Value;

use super::typed;
use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::filters::Filters;
use crate::cli::listing::Kind;
use crate::cli::{listing, out, tabwriter, timestamp, units, values};

/// `events`.
pub(super) async fn events(call: &Call) -> Outcome {
    let flags = &call.flags;
    let template = match flags.text("format") {
        "" => None,
        format => Some(listing::template("", format).map_err(parsing)?),
    };
    let moment = |flag: &str| timestamp::parse(flags.text(flag)).map_err(Failure::new);
    let query = Query::new()
        .with_some(
            "filters",
            Filters::from_values(&flags.list("filter")).json(),
        )
        .with_some("since", moment("since")?)
        .with_some("until", moment("until")?);
    let client = call.app.client().await?;
    let mut events = client.events(&query).await?;
    while let Some(event) = events.next().await? {
        match &template {
            None => out::print(&pretty(&event)),
            Some(template) => {
                let text = template.execute(&value(&event)?).map_err(|error| {
                    Failure::new(format!("Error parsing format: {error}")).with_code(64)
                })?;
                out::line(&text);
            }
        }
    }
    Ok(())
}

fn parsing(mut failure: Failure) -> Failure {
    failure.text = failure
        .text
        .replacen("template parsing error", "Error parsing format", 1);
    failure
}

/// The event as docker's type.
fn value(event: &Event) -> Outcome<Value> {
    let failed = |error: serde_json::Error| Failure::new(error.to_string());
    let json = serde_json::to_string(event).map_err(failed)?;
    let value = serde_json::from_str(&json).map_err(failed)?;
    Ok(typed::object(value, "*events.Message"))
}

fn pretty(event: &Event) -> String {
    let mut text = String::new();
    if event.time_nano != 0 {
        let (seconds, nanos) = (
            event.time_nano.div_euclid(1_000_000_000),
            event.time_nano.rem_euclid(1_000_000_000),
        );
        text.push_str(&units::local_rfc3339_nanos(seconds, nanos, true));
        text.push(' ');
    } else if event.time != 0 {
        text.push_str(&units::local_rfc3339_nanos(event.time, 0, true));
        text.push(' ');
    }
    text.push_str(&format!(
        "{} {} {}",
        event.kind, event.action, event.actor.id
    ));
    if !event.actor.attributes.is_empty() {
        let pairs: Vec<String> = event
            .actor
            .attributes
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        text.push_str(&format!(" ({})", pairs.join(", ")));
    }
    text.push('\n');
    text
}

/// `port`.
pub(super) async fn port(call: &Call) -> Outcome {
    let name = &call.flags.args[0];
    let client = call.app.client().await?;
    let container = client.container_inspect(name).await?;
    let ports = &container.network_settings.ports;
    let address = |binding: &dockerapi::PortBinding| {
        if binding.host_ip.contains(':') {
            format!("[{}]:{}", binding.host_ip, binding.host_port)
        } else {
            format!("{}:{}", binding.host_ip, binding.host_port)
        }
    };
    let mut lines = Vec::new();
    if let Some(wanted) = call.flags.args.get(1) {
        let (number, proto) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
        if let Err(error) = values::parse_uint(number, u64::from(u16::MAX)) {
            return Err(Failure::new(format!(
                "Error: invalid port ({number}): {error}"
            )));
        }
        let key = format!("{number}/{}", proto.to_lowercase());
        let found = ports.get(&key).cloned().flatten().unwrap_or_default();
        if found.is_empty() {
            return Err(Failure::new(format!(
                "Error: No public port '{wanted}' published for {name}"
            )));
        }
        lines.extend(found.iter().map(address));
    } else {
        for (port, bindings) in ports {
            for binding in bindings.iter().flatten() {
                lines.push(format!("{port} -> {}", address(binding)));
            }
        }
    }
    lines.sort_by(|a, b| natural(a, b));
    if !lines.is_empty() {
        out::line(&lines.join("\n"));
    }
    Ok(())
}

/// Numbers inside texts compare as numbers.
fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let (mut a, mut b) = (a, b);
    let digits = |text: &str| {
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len())
    };
    loop {
        let (in_a, in_b) = (digits(a), digits(b));
        if in_a > 0 && in_b > 0 {
            let number = |text: &str| text.trim_start_matches('0').to_owned();
            let (x, y) = (number(&a[..in_a]), number(&b[..in_b]));
            let order = x.len().cmp(&y.len()).then(x.cmp(&y));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[in_a..], &b[in_b..]);
            continue;
        }
        let (Some(x), Some(y)) = (a.chars().next(), b.chars().next()) else {
            return a.len().cmp(&b.len());
        };
        if x != y {
            return x.cmp(&y);
        }
        (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]);
    }
}

/// `top`.
pub(super) async fn top(call: &Call) -> Outcome {
    let [name, args @ ..] = &call.flags.args[..] else {
        return Err("a container is needed".into());
    };
    let client = call.app.client().await?;
    let top = client.container_top(name, &args.join(" ")).await?;
    let mut text = top.titles.join("\t") + "\n";
    for process in &top.processes {
        text.push_str(&process.join("\t"));
        text.push('\n');
    }
    out::print(&tabwriter::align_with(&text, 20, 3));
    Ok(())
}

static DIFF: Kind = Kind {
    type_name: "*container.diffContext",
    headers: &[("Type", "CHANGE TYPE"), ("Path", "PATH")],
};

/// `diff`.
pub(super) async fn diff(call: &Call) -> Outcome {
    let name = &call.flags.args[0];
    if name.is_empty() {
        return Err("container name cannot be empty".into());
    }
    let changes = call.app.client().await?.container_changes(name).await?;
    let rows: Vec<Value> = changes
        .iter()
        .map(|change| {
            let kind = match change.kind {
                0 => "C",
                1 => "A",
                2 => "D",
                _ => "",
            };
            DIFF.row(vec![
                ("Type", kind.into()),
                ("Path", change.path.as_str().into()),
            ])
        })
        .collect();
    out::print(&DIFF.render("{{.Type}} {{.Path}}", &rows)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn natural_order() {
        let mut lines = vec!["80/tcp", "9/tcp", "443/tcp"];
        lines.sort_by(|a, b| super::natural(a, b));
        assert_eq!(lines, ["9/tcp", "80/tcp", "443/tcp"]);
    }
}
