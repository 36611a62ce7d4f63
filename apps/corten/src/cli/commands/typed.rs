//! What docker's templates see of an inspected object. docker decodes the answer into Go's types
//! and runs the template over them; here the same is made of the JSON: which objects are structs,
//! which are maps, what nothing prints as, and the names that fields have in Go.

use gotemplate::Value;

/// Fields that Go holds as maps; all other objects are structs.
const MAPS: &[&str] = &[
    "Annotations",
    "Attributes",
    "AuxiliaryAddresses",
    "Containers",
    "Data",
    "Details",
    "DriverOpts",
    "ExposedPorts",
    "IndexConfigs",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Runtimes",
    "Status",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];

/// Fields that Go holds as pointers: nothing prints as `<nil>`.
const POINTERS: &[&str] = &[
    "ClusterInfo",
    "ClusterVolume",
    "Health",
    "Healthcheck",
    "IPAMConfig",
    "Init",
    "MemorySwappiness",
    "OomKillDisable",
    "PidsLimit",
    "SizeRootFs",
    "SizeRw",
    "StopTimeout",
    "UsageData",
];

/// Names in JSON and in Go, where they differ.
const NAMES: &[(&str, &str)] = &[
    ("ApiVersion", "APIVersion"),
    ("CpuCfsPeriod", "CPUCfsPeriod"),
    ("CpuCfsQuota", "CPUCfsQuota"),
    ("CpuCount", "CPUCount"),
    ("CpuPercent", "CPUPercent"),
    ("CpuPeriod", "CPUPeriod"),
    ("CpuQuota", "CPUQuota"),
    ("CpuRealtimePeriod", "CPURealtimePeriod"),
    ("CpuRealtimeRuntime", "CPURealtimeRuntime"),
    ("CpuShares", "CPUShares"),
    ("Dns", "DNS"),
    ("DnsOptions", "DNSOptions"),
    ("DnsSearch", "DNSSearch"),
    ("HostIp", "HostIP"),
    ("HttpProxy", "HTTPProxy"),
    ("HttpsProxy", "HTTPSProxy"),
    ("Id", "ID"),
    ("NanoCpus", "NanoCPUs"),
    ("from", "From"),
    ("id", "ID"),
    ("scope", "Scope"),
    ("status", "Status"),
    ("time", "Time"),
    ("timeNano", "TimeNano"),
];

/// Fields that JSON leaves out when they are zero, by the struct that has them. `Mounts` stands for
/// its elements.
const OMITTED: &[(&str, &[&str])] = &[
    ("container", &["SizeRw", "SizeRootFs"]),
    ("volume", &["ClusterVolume", "Status", "UsageData"]),
    ("State", &["Health"]),
    (
        "Config",
        &["Healthcheck", "StopTimeout", "StopSignal", "Shell"],
    ),
    (
        "HostConfig",
        &[
            "Mounts",
            "Init",
            "Sysctls",
            "Tmpfs",
            "StorageOpt",
            "Annotations",
        ],
    ),
];

/// A mount's fields in Go's order; names and drivers are left out where there are none.
const MOUNT: &[&str] = &[
    "Type",
    "Name",
    "Source",
    "Destination",
    "Driver",
    "Mode",
    "RW",
    "Propagation",
];

/// The object as docker's template sees it; `type_name` is Go's, or the kind where no error shows
/// it.
pub(super) fn object(value: Value, type_name: &'static str) -> Value {
    structure(value, type_name, type_name)
}

fn structure(value: Value, field: &str, type_name: &'static str) -> Value {
    let Value::Map(entries) = value else {
        return value;
    };
    let missing = |name: &&&str| !entries.iter().any(|(key, _)| key == **name);
    let omitted = OMITTED.iter().find(|(of, _)| *of == field);
    let omitted: Vec<&str> = omitted
        .map(|(_, names)| names.iter().filter(missing).copied().collect())
        .unwrap_or_default();
    let is_mount = field == "Mounts" && entries.iter().any(|(key, _)| key == "Destination");
    let mut fields = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        let value = typed(value, &name, field);
        fields.push(match NAMES.iter().find(|(json, _)| *json == name) {
            Some((json, go)) => ((*go).to_owned(), Value::Named(json, Box::new(value))),
            None => (name, value),
        });
    }
    for name in omitted {
        let zero = match name {
            "StopSignal" => Value::from(""),
            name => nothing(name),
        };
        fields.push((name.to_owned(), Value::Omitted(Box::new(zero))));
    }
    if is_mount {
        fields = mount(fields);
    }
    Value::Struct(type_name, fields)
}

fn mount(mut fields: Vec<(String, Value)>) -> Vec<(String, Value)> {
    let mut ordered = Vec::with_capacity(MOUNT.len());
    for name in MOUNT {
        let at = fields.iter().position(|(key, _)| key == name);
        ordered.push(match at {
            Some(at) => fields.remove(at),
            None => {
                let zero = Value::Omitted(Box::new(Value::from("")));
                ((*name).to_owned(), zero)
            }
        });
    }
    ordered.extend(fields);
    ordered
}

/// A field's value; `parent` is the field that its struct is.
fn typed(value: Value, name: &str, parent: &str) -> Value {
    let is_map = MAPS.contains(&name) || (name == "Config" && parent == "LogConfig");
    match value {
        Value::Nil => nothing(name),
        Value::Map(entries) if is_map => {
            let entries = entries.into_iter();
            let element = |value: Value| match value {
                Value::Nil => Value::Null("[]"),
                value => element(value, name),
            };
            Value::Map(entries.map(|(key, value)| (key, element(value))).collect())
        }
        value => element(value, name),
    }
}

fn element(value: Value, name: &str) -> Value {
    match value {
        Value::List(values) => Value::List(
            values
                .into_iter()
                .map(|value| element(value, name))
                .collect(),
        ),
        Value::Map(_) => structure(value, name, "struct"),
        value => value,
    }
}

fn nothing(name: &str) -> Value {
    Value::Null(if POINTERS.contains(&name) {
        "<nil>"
    } else if MAPS.contains(&name) {
        "map[]"
    } else {
        "[]"
    })
}

#[cfg(test)]
mod tests {
    use gotemplate::{Template, Value};

    #[test]
    fn prints_as_gos_types() {
        let json = r#"{"Id":"x","State":{"Pid":1},"Config":{"Labels":{},"Cmd":null},
            "HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"1"}]},
            "LogConfig":{"Type":"t","Config":{}},"PidsLimit":null},
            "Mounts":[{"Type":"bind","Source":"/a","Destination":"/b","Mode":"","RW":true,"Propagation":"rprivate"}]}"#;
        let value: Value = serde_json::from_str(json).expect("json");
        let value = super::object(value, "container");
        for (text, want) in [
            ("{{.ID}}", "x"),
            ("{{.State.Health}} {{.SizeRw}}", "<nil> <nil>"),
            (
                "{{.Config.Cmd}} {{.Config.Labels}} {{index .Config.Labels \"a\"}}|",
                "[] map[] |",
            ),
            ("{{.HostConfig.PortBindings}}", "map[80/tcp:[{ 1}]]"),
            ("{{.HostConfig.LogConfig}}", "{t map[]}"),
            ("{{.HostConfig.PidsLimit}}", "<nil>"),
            ("{{.Mounts}}", "[{bind  /a /b   true rprivate}]"),
            ("{{json .State}}", r#"{"Pid":1}"#),
        ] {
            let template = Template::parse("", text).expect("valid");
            assert_eq!(template.execute(&value).expect(text), want);
        }
    }
}
