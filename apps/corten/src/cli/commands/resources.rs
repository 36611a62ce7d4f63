//! `network ls` and `volume ls`.

use client::Query;
use gotemplate::Value;
use serde_json::Value as Json;

use crate::cli::Call;
use crate::cli::failure::Outcome;
use crate::cli::filters::Filters;
use crate::cli::listing::{Kind, is_default_table, short_id};
use crate::cli::out;

static NETWORK: Kind = Kind {
    type_name: "*network.networkContext",
    headers: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
};

pub(super) static VOLUME: Kind = Kind {
    type_name: "*formatter.volumeContext",
    headers: &[
        ("Name", "VOLUME NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Availability", "AVAILABILITY"),
        ("Group", "GROUP"),
        ("Status", "STATUS"),
    ],
};

fn text(item: &Json, key: &str) -> String {
    item[key].as_str().unwrap_or_default().to_owned()
}

fn labels(item: &Json) -> dockerapi::Map<String> {
    serde_json::from_value(item["Labels"].clone()).unwrap_or_default()
}

/// `network ls`.
pub(super) async fn networks(call: &Call) -> Outcome {
    let flags = &call.flags;
    let filters = Filters::from_values(&flags.list("filter")).json();
    let path = Query::new().with_some("filters", filters).on("/networks");
    let client = call.app.client().await?;
    let mut networks: Vec<Json> = client.get(&path).await?.json().await?;
    networks.sort_by_key(|network| text(network, "Name"));
    let trunc = !flags.on("no-trunc");
    let rows: Vec<Value> = networks
        .iter()
        .map(|network| {
            let id = text(network, "Id");
            let id = if trunc { short_id(&id).to_owned() } else { id };
            let flag = |key: &str| network[key].as_bool().unwrap_or_default().to_string();
            NETWORK.row(vec![
                ("ID", id.into()),
                ("Name", text(network, "Name").into()),
                ("Driver", text(network, "Driver").into()),
                ("Scope", text(network, "Scope").into()),
                ("IPv4", flag("EnableIPv4").into()),
                ("IPv6", flag("EnableIPv6").into()),
                ("Internal", flag("Internal").into()),
                ("Labels", super::ps::joined(&labels(network)).into()),
                (
                    "Label",
                    Value::Lookup(labels(network).into_iter().collect()),
                ),
                ("CreatedAt", created(&text(network, "Created")).into()),
            ])
        })
        .collect();
    let format = match (flags.text("format"), flags.on("quiet")) {
        ("", false) => call.app.config().text("networksFormat"),
        (format, _) => format,
    };
    let format = match format {
        format if is_default_table(format) && flags.on("quiet") => "{{.ID}}",
        format if is_default_table(format) => "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
        format => format,
    };
    out::print(&NETWORK.render(format, &rows)?);
    Ok(())
}

/// Go's `Time.String()` of an RFC 3339 moment, its own offset kept.
fn created(time: &str) -> String {
    let (date, rest) = time.split_once('T').unwrap_or((time, ""));
    match rest.strip_suffix('Z') {
        Some(clock) => format!("{date} {clock} +0000 UTC"),
        None => time.to_owned(),
    }
}

/// A volume's row; lists do not tell how often it is used and how large it is.
pub(super) fn volume_row(volume: &Json, links: String, size: String) -> Value {
    VOLUME.row(vec![
        ("Name", text(volume, "Name").into()),
        ("Driver", text(volume, "Driver").into()),
        ("Scope", text(volume, "Scope").into()),
        ("Mountpoint", text(volume, "Mountpoint").into()),
        ("Labels", super::ps::joined(&labels(volume)).into()),
        ("Label", Value::Lookup(labels(volume).into_iter().collect())),
        ("Links", links.into()),
        ("Size", size.into()),
        ("Availability", "N/A".into()),
        ("Group", "N/A".into()),
        ("Status", "N/A".into()),
    ])
}

/// `volume ls`.
pub(super) async fn volumes(call: &Call) -> Outcome {
    let flags = &call.flags;
    if flags.on("cluster") {
        return Err("cluster volumes are not supported yet".into());
    }
    let filters = Filters::from_values(&flags.list("filter")).json();
    let path = Query::new().with_some("filters", filters).on("/volumes");
    let client = call.app.client().await?;
    let answer: Json = client.get(&path).await?.json().await?;
    let mut volumes: Vec<Json> = answer["Volumes"].as_array().cloned().unwrap_or_default();
    volumes.sort_by_key(|volume| text(volume, "Name"));
    let rows: Vec<Value> = volumes
        .iter()
        .map(|volume| volume_row(volume, "N/A".into(), "N/A".into()))
        .collect();
    let format = match (flags.text("format"), flags.on("quiet")) {
        ("", false) => call.app.config().text("volumesFormat"),
        (format, _) => format,
    };
    let format = match format {
        format if is_default_table(format) && flags.on("quiet") => "{{.Name}}",
        format if is_default_table(format) => "table {{.Driver}}\t{{.Name}}",
        format => format,
    };
    out::print(&VOLUME.render(format, &rows)?);
    Ok(())
}
