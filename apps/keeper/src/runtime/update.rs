//! `update`: other limits for a container.

use std::io::Read;

use oci::runtime::{BlockIo, Cpu, Memory, Pids, Resources};

use super::args::Args;
use super::fail::{During, Fail, Result};
use super::pause;
use super::state::{Container, Status};
use super::{Global, id_of};

pub(crate) fn update(global: &Global, args: &Args) -> Result<u8> {
    let (mut container, _lock) = Container::load_locked(&global.root, id_of(args))?;
    let mut resources = match args.text("resources") {
        Some(path) => from_json(path)?,
        None => from_options(args)?,
    };
    if container.status() == Status::Stopped {
        return Err(Fail::NotRunning);
    }
    if let Some(memory) = &resources.memory
        && (memory.kernel.is_some() || memory.kernel_tcp.is_some())
    {
        global
            .log
            .warn("Kernel memory settings are ignored and will be removed");
    }
    settle(&mut resources);
    update_rdt(&mut container, args)?;
    let (cgroup, limits) = (
        pause::cgroup(&container)?,
        super::bundle::limits(&resources),
    );
    match &container.state.systemd_unit {
        Some(unit) => unit.set(&cgroup, &limits)?,
        None => cgroup.apply(&limits)?,
    }
    Ok(0)
}

/// `--l3-cache-schema` and `--mem-bw-schema`: for the class that the container has, or one that is
/// made for it.
fn update_rdt(container: &mut Container, args: &Args) -> Result<()> {
    let schema = |name| args.text(name).unwrap_or_default().to_owned();
    let (l3, bandwidth) = (schema("l3-cache-schema"), schema("mem-bw-schema"));
    if l3.is_empty() && bandwidth.is_empty() {
        return Ok(());
    }
    let mut rdt = container.state.intel_rdt.clone().unwrap_or_default();
    rdt.l3_cache_schema = l3;
    rdt.mem_bw_schema = bandwidth;
    let pid = container.state.init_process_pid.unsigned_abs();
    runtime::update_rdt_groups(&rdt, &container.name(), pid)?;
    container.state.intel_rdt = Some(rdt);
    container.place.save(&container.state)
}

/// A file, or standard input as `-`.
fn from_json(path: &str) -> Result<Resources> {
    let mut bytes = Vec::new();
    match path {
        "-" => std::io::stdin()
            .read_to_end(&mut bytes)
            .during("read", "standard input")?,
        path => std::fs::File::open(path)
            .and_then(|mut f| f.read_to_end(&mut bytes))
            .during("open", path)?,
    };
    serde_json::from_slice(&bytes).map_err(|e| Fail::Said(format!("{path}: {e}")))
}

fn from_options(args: &Args) -> Result<Resources> {
    let text = |name| args.text(name).unwrap_or_default().to_owned();
    let cpu = Cpu {
        shares: args.number("cpu-share")?,
        quota: args.number("cpu-quota")?,
        burst: args.number("cpu-burst")?,
        period: args.number("cpu-period")?,
        realtime_runtime: args.number("cpu-rt-runtime")?,
        realtime_period: args.number("cpu-rt-period")?,
        cpus: text("cpuset-cpus"),
        mems: text("cpuset-mems"),
        idle: args.number("cpu-idle")?,
    };
    let memory = Memory {
        limit: bytes(args, "memory")?,
        reservation: bytes(args, "memory-reservation")?,
        swap: bytes(args, "memory-swap")?,
        kernel: bytes(args, "kernel-memory")?,
        kernel_tcp: bytes(args, "kernel-memory-tcp")?,
        ..Memory::default()
    };
    let weight: Option<u16> = args.number("blkio-weight")?;
    Ok(Resources {
        memory: Some(memory),
        cpu: Some(cpu),
        pids: Some(Pids {
            limit: args.number("pids-limit")?,
        }),
        block_io: Some(BlockIo {
            weight: weight.filter(|w| *w != 0),
            ..BlockIo::default()
        }),
        ..Resources::default()
    })
}

/// What would contradict itself, or is not to be changed here.
fn settle(resources: &mut Resources) {
    // Devices may have been given by others meanwhile.
    resources.devices.clear();
    if let Some(memory) = &mut resources.memory {
        memory.kernel = None;
        memory.kernel_tcp = None;
    }
}

/// A size: a number with k, m, g, t or p (powers of 1024), "b" or "iB" allowed behind; -1 is
/// unlimited.
fn bytes(args: &Args, name: &str) -> Result<Option<i64>> {
    let Some(text) = args.text(name) else {
        return Ok(None);
    };
    match size(text) {
        Some(size) => Ok(Some(size)),
        None => Err(Fail::Said(format!(
            "invalid value for {name}: invalid size: '{text}'"
        ))),
    }
}

fn size(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let unit = unit.trim().to_lowercase();
    let unit = unit
        .strip_suffix("ib")
        .or(unit.strip_suffix('b'))
        .unwrap_or(&unit);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    match number.parse::<i64>() {
        Ok(n) => n.checked_mul(1 << shift),
        Err(_) => Some((number.parse::<f64>().ok()? * (1i64 << shift) as f64) as i64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("-1"), Some(-1));
        assert_eq!(size("1024"), Some(1024));
        assert_eq!(size("32M"), Some(32 << 20));
        assert_eq!(size("1.5g"), Some(3 << 29));
        assert_eq!(size("2KiB"), Some(2048));
        assert_eq!(size("5kb"), Some(5 << 10));
        assert_eq!(size("x"), None);
        assert_eq!(size("3z"), None);
    }
}
