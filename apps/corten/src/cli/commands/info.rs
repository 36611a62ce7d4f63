//! `info`.

use std::fmt::Write as _;

use dockerapi::Info;
use gotemplate::Value;
use serde_json::json;

use super::typed;
use crate::cli::Call;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::{listing, out, units};

/// `info`: what is known of the client is shown even when no engine answers.
pub(super) async fn run(call: &Call) -> Outcome {
    let format = call.flags.text("format");
    let template = match format {
        "" => None,
        format => Some(listing::template("", format)?),
    };
    let answer = async { Outcome::Ok(call.app.client().await?.get("/info").await?.bytes().await?) };
    let (raw, failure) = match answer.await {
        Ok(raw) => (Some(raw), None),
        Err(failure) => (None, Some(failure)),
    };
    let own = json!({
        "Debug": call.app.debug(),
        "Version": env!("CARGO_PKG_VERSION"),
        "Context": call.app.context(),
        "Plugins": [],
        "Warnings": null,
    });
    let parse = |error: serde_json::Error| Failure::new(error.to_string());
    if let Some(template) = template {
        let data = match &raw {
            Some(raw) => serde_json::from_slice(raw).map_err(parse)?,
            None => Value::Map(Vec::new()),
        };
        let mut data = typed::object(data, "system.dockerInfo");
        if let Value::Struct(_, fields) = &mut data {
            let errors = Value::Omitted(Box::new(Value::Null("[]")));
            fields.push(("ServerErrors".into(), errors));
            let own = typed::object(own.into(), "*system.clientInfo");
            fields.push(("ClientInfo".into(), own));
        }
        let text = template.execute(&data).map_err(|error| {
            // docker ends the line that it may have begun.
            out::line("");
            Failure::new(error.to_string())
        })?;
        out::line(&text);
    } else {
        out::print(&format!(
            "Client:\n Version:    {}\n Context:    {}\n Debug Mode: {}\n\nServer:\n",
            env!("CARGO_PKG_VERSION"),
            call.app.context(),
            call.app.debug()
        ));
        if let Some(raw) = &raw {
            let info: Info = serde_json::from_slice(raw).map_err(parse)?;
            out::print(&server(&info, call.app.debug()));
            for warning in info.warnings.iter().flatten() {
                out::error(warning);
            }
        }
    }
    match failure {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

fn server(info: &Info, debug: bool) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(out, " {name}: {value}");
    };
    line("Containers", &info.containers);
    line(" Running", &info.containers_running);
    line(" Paused", &info.containers_paused);
    line(" Stopped", &info.containers_stopped);
    line("Images", &info.images);
    some(&mut line, "Server Version", &info.server_version);
    some(&mut line, "Storage Driver", &info.driver);
    for [name, value] in &info.driver_status {
        line(&format!(" {name}"), value);
    }
    some(&mut line, "Logging Driver", &info.logging_driver);
    some(&mut line, "Cgroup Driver", &info.cgroup_driver);
    some(&mut line, "Cgroup Version", &info.cgroup_version);
    let _ = writeln!(out, " Plugins:");
    let _ = writeln!(out, "  Volume: {}", info.plugins.volume.join(" "));
    let _ = writeln!(out, "  Network: {}", info.plugins.network.join(" "));
    let authorization = info.plugins.authorization.clone().unwrap_or_default();
    if !authorization.is_empty() {
        let _ = writeln!(out, "  Authorization: {}", authorization.join(" "));
    }
    let _ = writeln!(out, "  Log: {}", info.plugins.log.join(" "));
    list(&mut out, "CDI spec directories", &info.cdi_spec_dirs);
    runtime(&mut out, info);
    host(&mut out, info, debug);
    registries(&mut out, info);
    let _ = writeln!(out, " Live Restore Enabled: {}", info.live_restore_enabled);
    if let Some(firewall) = &info.firewall_backend {
        let driver = firewall["Driver"].as_str().unwrap_or_default();
        let _ = writeln!(out, " Firewall Backend: {driver}");
        for pair in firewall["Info"].as_array().into_iter().flatten() {
            let text = |at: usize| pair[at].as_str().unwrap_or_default().to_owned();
            let _ = writeln!(out, "  {}: {}", text(0), text(1));
        }
    }
    out.push('\n');
    out
}

fn some(line: &mut impl FnMut(&str, &dyn std::fmt::Display), name: &str, value: &str) {
    if !value.is_empty() {
        line(name, &value);
    }
}

fn list(out: &mut String, name: &str, values: &[String]) {
    if values.is_empty() {
        return;
    }
    let _ = writeln!(out, " {name}:");
    for value in values {
        let _ = writeln!(out, "  {value}");
    }
}

fn runtime(out: &mut String, info: &Info) {
    let _ = writeln!(out, " Swarm: {}", info.swarm.local_node_state);
    if !matches!(
        info.swarm.local_node_state.as_str(),
        "inactive" | "locked" | ""
    ) {
        let _ = writeln!(out, "  NodeID: {}", info.swarm.node_id);
        let _ = writeln!(out, "  Is Manager: {}", info.swarm.control_available);
        let _ = writeln!(out, "  Node Address: {}", info.swarm.node_addr);
    }
    if !info.runtimes.is_empty() {
        let names: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
        let _ = writeln!(out, " Runtimes: {}", names.join(" "));
        let _ = writeln!(out, " Default Runtime: {}", info.default_runtime);
    }
    if info.os_type != "linux" {
        return;
    }
    let _ = writeln!(out, " Init Binary: {}", info.init_binary);
    let _ = writeln!(out, " containerd version: {}", info.containerd_commit.id);
    let _ = writeln!(out, " runc version: {}", info.runc_commit.id);
    let _ = writeln!(out, " init version: {}", info.init_commit.id);
    if info.security_options.is_empty() {
        return;
    }
    let _ = writeln!(out, " Security Options:");
    for option in &info.security_options {
        let pairs = option
            .split(',')
            .map(|pair| pair.split_once('=').unwrap_or(("name", pair)));
        for (key, value) in pairs {
            match key {
                "name" => {
                    let _ = writeln!(out, "  {value}");
                }
                "profile" => {
                    let _ = writeln!(out, "   Profile: {value}");
                }
                _ => {}
            }
        }
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "memory is shown with four digits"
)]
fn host(out: &mut String, info: &Info, debug: bool) {
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, " {name}: {value}");
        }
    };
    line("Kernel Version", &info.kernel_version);
    line("Operating System", &info.operating_system);
    line("OSType", &info.os_type);
    line("Architecture", &info.architecture);
    line("CPUs", &info.ncpu.to_string());
    line("Total Memory", &units::bytes_size(info.mem_total as f64));
    line("Name", &info.name);
    line("ID", &info.id);
    let _ = writeln!(out, " Docker Root Dir: {}", info.docker_root_dir);
    let _ = writeln!(out, " Debug Mode: {}", info.debug);
    if info.debug || debug {
        let _ = writeln!(out, "  File Descriptors: {}", info.n_fd);
        let _ = writeln!(out, "  Goroutines: {}", info.n_goroutines);
        let _ = writeln!(out, "  System Time: {}", info.system_time);
        let _ = writeln!(out, "  EventsListeners: {}", info.n_events_listener);
    }
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, " {name}: {value}");
        }
    };
    line("HTTP Proxy", &info.http_proxy);
    line("HTTPS Proxy", &info.https_proxy);
    line("No Proxy", &info.no_proxy);
    list(out, "Labels", &info.labels);
    let _ = writeln!(out, " Experimental: {}", info.experimental_build);
}

fn registries(out: &mut String, info: &Info) {
    let config = &info.registry_config;
    if !config.insecure_registry_cidrs.is_empty() || !config.index_configs.is_empty() {
        let _ = writeln!(out, " Insecure Registries:");
        for index in config.index_configs.values() {
            if !index["Secure"].as_bool().unwrap_or_default() {
                let _ = writeln!(out, "  {}", index["Name"].as_str().unwrap_or_default());
            }
        }
        for cidr in &config.insecure_registry_cidrs {
            let _ = writeln!(out, "  {cidr}");
        }
    }
    list(
        out,
        "Registry Mirrors",
        config.mirrors.as_deref().unwrap_or_default(),
    );
}
