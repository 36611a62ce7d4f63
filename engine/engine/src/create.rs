//! `container create`: checks, the image's defaults, volumes, and one durable row.

use std::sync::Arc;

use dockerapi::{CreateBody, CreateResponse, HostConfig};
use state::{Change, Table};

use crate::owner::{self, Inherited};
use crate::record::{Phase, Record, State};
use crate::{
    Engine, Error, Inner, Result, clock, events, links, log_drivers, merge, mounts, names, network,
    system, userns, verify,
};

/// Names tried before giving up on random ones.
const NAME_ATTEMPTS: u32 = 20;

impl Engine {
    /// `POST /containers/create`. `platform` is `os/arch[/variant]`.
    ///
    /// # Errors
    /// Not found without the image, conflict when the name is taken, invalid parameter or not
    /// implemented for what is asked.
    pub async fn container_create(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        body: CreateBody,
    ) -> Result<CreateResponse> {
        let inner = Arc::clone(&self.0);
        let name = name
            .filter(|name| !name.is_empty())
            .map(names::validate)
            .transpose()?;
        let platform = platform
            .filter(|platform| !platform.is_empty())
            .map(str::parse::<oci::Platform>)
            .transpose()
            .map_err(|error| Error::invalid(error.to_string()))?;
        let (mut record, warnings, reserved) = draft(&inner, platform.as_ref(), body)?;
        let id = record.id.clone();
        record.name = reserve(&inner, name, &id)?;
        let name = record.name.clone();
        // The rest goes on even when the client leaves: nothing half-made stays.
        let finish = tokio::spawn(async move {
            let made = make(&inner, record).await;
            drop(reserved);
            if made.is_err() {
                inner.containers.release_name(&name, &id);
                let inner = Arc::clone(&inner);
                let dir = inner.container_dir(&id);
                let _ = tokio::task::spawn_blocking(move || inner.images.discard(&dir)).await;
            }
            made
        });
        let id = finish
            .await
            .map_err(|_| Error::system("create was interrupted"))??;
        Ok(CreateResponse { id, warnings })
    }
}

/// Everything that can be decided without touching the disk.
fn draft(
    inner: &Arc<Inner>,
    platform: Option<&oci::Platform>,
    body: CreateBody,
) -> Result<(Record, Vec<String>, Option<userns::Reserved>)> {
    let CreateBody {
        mut config,
        host_config: mut host,
        networking_config: networking,
    } = body;
    if config.image.is_empty() {
        return Err(Error::invalid("no image specified"));
    }
    verify::unsupported(&host)?;
    network::conflicts(&config, &host)?;
    let image = inner.images.resolve_for(&config.image, platform)?;
    inner.images.touch(&image.id);
    merge::merge(&mut config, &image.config.config)?;
    verify::config(&config)?;
    let features = inner.compute.features();
    verify::defaults(&mut host, &inner.config, features);
    let mut warnings = verify::host(&host, features)?;
    warnings.extend(platform_warning(&image, platform));
    // Told in the warnings.
    host.resources.cpu_percent = 0;
    let runtime = verify::runtime(&host.runtime, &inner.config.runtimes)?;
    let (ids, reserved) = userns::of_container(inner, &host)?;
    if ids.is_some() && runtime.is_some() {
        return Err(Error::not_implemented(format!(
            "a user namespace with runtime {:?} is not supported yet",
            host.runtime
        )));
    }
    log_drivers::check(&host.log_config)?;
    remember_joined(inner, &mut host);
    let mut planned = mounts::plan(&config, &host, mounts::inherited(inner, &host)?)?;
    for mounted in planned
        .iter_mut()
        .filter(|m| m.point.kind == "image" && m.point.name.is_empty())
    {
        mounted.point.name = inner.images.resolve(&mounted.point.source)?.id.to_string();
    }
    let id = names::random_id()?;
    hostname(inner, &mut config, &host.network_mode, &id);
    let (path, args) = merge::command(&config);
    let record = Record {
        id,
        name: String::new(),
        created: clock::now(),
        image_id: image.id.to_string(),
        image_manifest: image.manifest.clone(),
        platform: image.config.os.clone(),
        path,
        args,
        mounts: planned,
        links: links::resolve(inner, &host)?,
        config,
        host,
        networking,
        ids,
        state: State {
            phase: Phase::Created,
            ..State::default()
        },
        endpoint: None,
    };
    network::verify(&record)?;
    modes(&record.host)?;
    security(inner, &record)?;
    Ok((record, warnings, reserved))
}

/// Says that an image is for other machines, where nobody asked for it.
fn platform_warning(image: &images::Image, asked: Option<&oci::Platform>) -> Option<String> {
    let host = oci::Platform::host();
    let of = image.config.platform();
    // An image that does not say is as good as any.
    let is_told = !of.os.is_empty() && !of.architecture.is_empty();
    (asked.is_none() && is_told && host.suits(&of).is_none()).then(|| {
        format!(
            "The requested image's platform ({of}) does not match the detected host platform \
             ({host}) and no specific platform was requested"
        )
    })
}

/// Refuses at create what could only fail at every start.
fn security(inner: &Inner, record: &Record) -> Result<()> {
    let empty = crate::resolve::Files {
        hosts: "",
        hostname: "",
        resolv_conf: "",
    };
    let devices =
        crate::devices::asked(record.host.resources.devices.as_deref().unwrap_or_default());
    let context = crate::resolve::Context {
        config: &inner.config,
        features: inner.compute.features(),
        files: empty,
        joined: &[],
        linked: &[],
        shm: None,
        host_devices: &[],
        // A device that is missing now may be there at the start.
        devices: devices.as_deref().unwrap_or_default(),
        architecture: system::architecture(),
        kernel: system::kernel_version(),
        processors: system::processors(),
    };
    crate::resolve::resolve(record, &context).map(|_| ())
}

/// Containers that are joined are remembered by ID, which a rename does not change. One that does
/// not exist yet is found, or missed, by the start.
fn remember_joined(inner: &Inner, host: &mut HostConfig) {
    for mode in [
        &mut host.network_mode,
        &mut host.pid_mode,
        &mut host.ipc_mode,
    ] {
        if let Some(name) = mode.strip_prefix("container:")
            && let Ok(other) = inner.containers.find(name)
        {
            *mode = format!("container:{}", other.id);
        }
    }
}

/// Whether a joined container is there is seen at the start: a client takes "not found" as the
/// answer to a create for a missing image.
fn modes(host: &HostConfig) -> Result<()> {
    for (mode, what, allowed) in [
        (&host.pid_mode, "PID", &["", "host", "private"][..]),
        (&host.uts_mode, "UTS", &["", "host"][..]),
        (
            &host.ipc_mode,
            "IPC",
            &["", "none", "host", "private", "shareable"][..],
        ),
    ] {
        let joins = what != "UTS" && mode.starts_with("container:");
        if !joins && !allowed.contains(&mode.as_str()) {
            return Err(Error::invalid(format!("invalid {what} mode: {mode}")));
        }
    }
    Ok(())
}

fn hostname(inner: &Inner, config: &mut dockerapi::ContainerConfig, network_mode: &str, id: &str) {
    if !config.hostname.is_empty() {
        return;
    }
    config.hostname = match network_mode {
        "host" => rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        mode => match mode
            .strip_prefix("container:")
            .map(|name| inner.containers.find(name))
        {
            Some(Ok(other)) => other.record().config.hostname.clone(),
            _ => id[..12].to_owned(),
        },
    };
}

fn reserve(inner: &Inner, name: Option<&str>, id: &str) -> Result<String> {
    if let Some(name) = name {
        inner.containers.reserve_name(name, id)?;
        return Ok(name.to_owned());
    }
    for attempt in 0..NAME_ATTEMPTS {
        let name = names::random_name(attempt)?;
        if inner.containers.reserve_name(&name, id).is_ok() {
            return Ok(name);
        }
    }
    // IDs are free by construction.
    inner.containers.reserve_name(&id[..12], id)?;
    Ok(id[..12].to_owned())
}

/// Gives a directory of ours to a container's root.
fn own(dir: &std::path::Path, (uid, gid): (u32, u32)) -> Result<()> {
    std::os::unix::fs::chown(dir, Some(uid), Some(gid))
        .map_err(|error| Error::system(format!("chown {}: {error}", dir.display())))
}

/// Directories and volumes, then the row, then the owner.
async fn make(inner: &Arc<Inner>, mut record: Record) -> Result<String> {
    let prepare = {
        let inner = Arc::clone(inner);
        move || -> Result<_> {
            let writable = inner.writable_dir(&record.id);
            inner.images.create_writable(&writable)?;
            if let Some(ids) = &record.ids {
                own(&writable.join("diff"), ids.root())?;
            }
            let volumes = crate::volumes::prepare(&inner, &mut record)?;
            Ok((record, volumes))
        }
    };
    let (record, mut volumes) = tokio::task::spawn_blocking(prepare)
        .await
        .map_err(|_| Error::system("create was interrupted"))??;
    let event = events::container(&record, "create", &[]);
    let change = Change::new()
        .put(Table::Containers, &record.id, &record)
        .event(&event)
        .addition();
    let change = volumes.add_to(change);
    let told = inner
        .state
        .commit(change)
        .await
        .map_err(|error| Error::system(error.to_string()))?;
    let id = record.id.clone();
    let container = owner::spawn(Arc::clone(inner), record, Inherited::Nothing);
    inner.containers.insert(container);
    volumes.keep();
    drop(told);
    Ok(id)
}
