//! The systemd driver: units by D-Bus (org.freedesktop.systemd1), where systemd owns the cgroup
//! tree and would undo what others make in it.
//!
//! A scope or slice is made by [`Manager::start`], which returns when its job is done; its cgroup
//! is then opened and filled like any other. systemd is told the limits too ([`properties`]), so
//! that it writes the same when it realizes the unit again, at a `daemon-reload` for one.

mod devices;
mod holder;
mod limits;
mod name;
mod property;

use std::path::Path;
use std::time::{Duration, Instant};

use dbus::{Connection, Message};

pub use dbus::Value;
pub use holder::Holder;
pub use limits::{first_properties, properties};
pub use name::Unit;
pub use property::from_annotation;

use crate::{Cgroup, Error, Layout, Resources, Result};

/// A unit's property: name and value.
pub type Property = (String, Value);

const SERVICE: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
/// For the root user, without a bus between.
const PRIVATE: &str = "/run/systemd/private";
const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";
/// How long a call or a job may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// systemd is the init system (sd_booted(3)).
pub fn is_running() -> bool {
    let kind = std::fs::symlink_metadata("/run/systemd/system");
    kind.is_ok_and(|m| m.is_dir())
}

/// A systemd that was connected to.
#[derive(Debug)]
pub struct Manager {
    connection: Connection,
    /// By a bus, which passes signals on only where asked.
    bus: bool,
    watching: bool,
    user: bool,
    version: u32,
    root: String,
}

impl Manager {
    /// Connects to the system's manager, or to that of the calling user.
    pub fn connect(user: bool) -> Result<Self> {
        if !is_running() {
            return Err(Error::new(
                "systemd not running on this host, cannot use systemd cgroups manager",
            ));
        }
        let (connection, bus) = match user {
            true => user_connection(),
            false => system_connection(),
        }
        .map_err(|e| Error::new(format!("failed to connect to dbus: {}", e.complete())))?;
        let mut manager = Self {
            connection,
            bus,
            watching: false,
            user,
            version: 0,
            root: String::new(),
        };
        let version = manager.property("Version")?;
        manager.version = number_in(&version)
            .ok_or_else(|| Error::new(format!("can't parse the version {version:?} of systemd")))?;
        if user {
            manager.root = manager.property("ControlGroup")?;
        }
        Ok(manager)
    }

    /// Version of systemd, as 252.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// It is the manager of a user.
    pub fn is_user(&self) -> bool {
        self.user
    }

    /// Where a unit's cgroup is, relative to the hierarchies' roots: a user's are below that user's
    /// manager.
    pub fn path(&self, unit: &Unit) -> String {
        let root = self.root.trim_matches('/');
        let path = unit.path();
        match root.is_empty() {
            true => path,
            false => format!("{root}/{path}"),
        }
    }

    /// Starts a unit of this cgroup alone, held by a process that does nothing until others are in
    /// it, and makes its directories in the hierarchies that systemd leaves to others. On failure
    /// nothing is left.
    pub fn make(
        &mut self,
        layout: &Layout,
        unit: &Unit,
        more: Vec<Property>,
        mut resources: Resources,
    ) -> Result<Made> {
        let v2 = layout.version == 2;
        let mut properties = first_properties(&mut resources, v2, self.version)?;
        properties.splice(0..0, more);
        let holder = match unit.is_slice() {
            true => None,
            false => Some(Holder::begin()?),
        };
        let pids: Vec<u32> = holder.iter().map(Holder::pid).collect();
        self.start(unit, &pids, properties, v2)?;
        match Cgroup::create(layout, &self.path(unit)) {
            Ok(cgroup) => Ok(Made {
                cgroup,
                holder,
                resources,
            }),
            Err(error) => {
                drop(holder);
                let _ = self.stop(unit);
                Err(error)
            }
        }
    }

    /// Starts a transient unit and returns when it is there. `pids` are moved into a scope, which
    /// ends when it is empty; a slice takes none. One of this name that has failed is cleared away.
    pub fn start(
        &mut self,
        unit: &Unit,
        pids: &[u32],
        more: Vec<Property>,
        v2: bool,
    ) -> Result<()> {
        let properties = property::of_unit(unit, pids, more, v2);
        let call = Message::call(SERVICE, OBJECT, INTERFACE, "StartTransientUnit")
            .with(unit.name())
            .with("replace")
            .with(property::list(properties))
            .with(Value::Array("(sa(sv))".into(), Vec::new()));
        let mut started = self.job(call.clone());
        if let Err(Failure::Call(error)) = &started
            && error.name() == "org.freedesktop.systemd1.UnitExists"
        {
            // What is left of a failed one can go; one that lives is in the way again.
            let _ = self.reset_failed(unit);
            started = self.job(call);
        }
        let name = unit.name();
        if let Err(Failure::Wait(_)) = &started {
            // It may come yet.
            let _ = self.stop(unit);
        }
        match started.map_err(|e| e.during(&format!("unable to start unit {name:?}")))? {
            result if result == "done" => Ok(()),
            result => {
                let _ = self.reset_failed(unit);
                Err(Error::new(format!(
                    "error creating systemd unit `{name}`: got `{result}`"
                )))
            }
        }
    }

    /// Stops a unit and returns when it is gone; one that is not there is no error.
    pub fn stop(&mut self, unit: &Unit) -> Result<()> {
        let call = Message::call(SERVICE, OBJECT, INTERFACE, "StopUnit")
            .with(unit.name())
            .with("replace");
        let stopped = match self.job(call) {
            Err(Failure::Call(error)) if error.name().ends_with(".NoSuchUnit") => return Ok(()),
            // Whatever the job's result is: what is left of it is for the caller to remove.
            other => other.map(drop),
        };
        let _ = self.reset_failed(unit);
        stopped.map_err(|e| e.during(&format!("unable to stop unit {:?}", unit.name())))
    }

    /// Tells systemd other limits of a unit, and writes them; what systemd rounds up is written
    /// as it has it.
    pub fn set(&mut self, unit: &Unit, cgroup: &Cgroup, resources: &Resources) -> Result<()> {
        let mut resources = resources.clone();
        // systemd's one number comes of both.
        let cpu = &mut resources.cpu;
        if cpu.quota.is_some() != cpu.period.is_some() {
            let (quota, period) = cgroup.cpu_quota();
            cpu.quota = cpu.quota.or(quota);
            cpu.period = cpu.period.or(period);
        }
        let properties = properties(&mut resources, cgroup.version() == 2, self.version)?;
        if !properties.is_empty() {
            // On v1 it denies all devices before it allows some again.
            let freeze = cgroup.version() == 1 && !cgroup.frozen()?;
            if freeze {
                cgroup.freeze()?;
            }
            let set = self.set_properties(unit, properties);
            let thawed = match freeze {
                true => cgroup.thaw(),
                false => Ok(()),
            };
            set.and(thawed)?;
        }
        cgroup.apply(&resources)
    }

    fn set_properties(&mut self, unit: &Unit, properties: Vec<Property>) -> Result<()> {
        let call = Message::call(SERVICE, OBJECT, INTERFACE, "SetUnitProperties")
            .with(unit.name())
            .with(true)
            .with(property::list(properties));
        let answer = self.connection.call(call, until());
        answer.map(drop).map_err(|e| {
            let doing = "unable to set unit properties";
            Error::new(format!("{doing}: {}", e.complete()))
        })
    }

    fn reset_failed(&mut self, unit: &Unit) -> dbus::Result<()> {
        let call = Message::call(SERVICE, OBJECT, INTERFACE, "ResetFailedUnit").with(unit.name());
        self.connection.call(call, until()).map(drop)
    }

    fn property(&mut self, name: &str) -> Result<String> {
        let call = Message::call(SERVICE, OBJECT, "org.freedesktop.DBus.Properties", "Get")
            .with(INTERFACE)
            .with(name);
        let answer = self.connection.call(call, until()).map_err(|e| {
            Error::new(format!("unable to get {name} of systemd: {}", e.complete()))
        })?;
        let text = answer.body.first().and_then(Value::as_text);
        Ok(text.unwrap_or_default().to_owned())
    }

    /// Makes a call that queues a job, and gives the job's result: "done" is success.
    fn job(&mut self, call: Message) -> std::result::Result<String, Failure> {
        let until = until();
        if self.bus && !self.watching {
            let rule = format!(
                "type='signal',sender='{SERVICE}',path='{OBJECT}',interface='{INTERFACE}',\
                 member='JobRemoved'"
            );
            self.connection.watch(&rule, until).map_err(Failure::Call)?;
            self.watching = true;
        }
        let answer = self.connection.call(call, until).map_err(Failure::Call)?;
        let Some(Value::Path(job)) = answer.body.first() else {
            return Err(Failure::Wait(dbus::Error::Malformed(
                "no job in the answer",
            )));
        };
        loop {
            let signal = self.connection.signal(until).map_err(Failure::Wait)?;
            if !signal.is_signal(INTERFACE, "JobRemoved") {
                continue;
            }
            if let [_, Value::Path(path), _, Value::Text(result)] = signal.body.as_slice()
                && path == job
            {
                return Ok(result.clone());
            }
        }
    }
}

/// A unit with its cgroup.
#[derive(Debug)]
pub struct Made {
    /// Not limited yet.
    pub cgroup: Cgroup,
    /// To be kept until a process has joined; a slice needs none.
    pub holder: Option<Holder>,
    /// The limits to apply: what systemd rounds is rounded in them.
    pub resources: Resources,
}

/// At which of its two steps a job was not made.
#[derive(Debug)]
enum Failure {
    Call(dbus::Error),
    Wait(dbus::Error),
}

impl Failure {
    fn during(self, doing: &str) -> Error {
        match self {
            Self::Call(e) => Error::new(format!("{doing}: {}", e.complete())),
            Self::Wait(e) => Error::new(format!("{doing}: waiting for its job: {}", e.complete())),
        }
    }
}

fn until() -> Instant {
    Instant::now() + PATIENCE
}

fn system_connection() -> dbus::Result<(Connection, bool)> {
    let until = until();
    if rustix::process::geteuid().is_root()
        && let Ok(direct) = Connection::open(&format!("unix:path={PRIVATE}"), until)
    {
        return Ok((direct, false));
    }
    let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or(SYSTEM_BUS.into());
    bus_connection(&address, until)
}

fn user_connection() -> dbus::Result<(Connection, bool)> {
    let until = until();
    let runtime = std::env::var("XDG_RUNTIME_DIR").unwrap_or_default();
    let direct = Path::new(&runtime).join("systemd/private");
    if !runtime.is_empty()
        && let Ok(direct) = Connection::open(&format!("unix:path={}", escaped(&direct)), until)
    {
        return Ok((direct, false));
    }
    let address = match std::env::var("DBUS_SESSION_BUS_ADDRESS") {
        Ok(address) if !address.is_empty() => address,
        _ if runtime.is_empty() => {
            return Err(dbus::Error::Text(
                "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR says where the user's bus is"
                    .into(),
            ));
        }
        _ => format!("unix:path={}", escaped(&Path::new(&runtime).join("bus"))),
    };
    bus_connection(&address, until)
}

fn bus_connection(address: &str, until: Instant) -> dbus::Result<(Connection, bool)> {
    let mut connection = Connection::open(address, until)?;
    connection.hello(until)?;
    Ok((connection, true))
}

/// A path as an address has it.
fn escaped(path: &Path) -> String {
    let mut out = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'/' | b'.' | b'*' => {
                out.push(char::from(*byte));
            }
            other => out.push_str(&format!("%{other:02x}")),
        }
    }
    out
}

/// `v252.4-1~deb`, `252`: the first number.
fn number_in(version: &str) -> Option<u32> {
    let digits = version.trim_start_matches(['"', 'v']);
    let end = digits.find(|c: char| !c.is_ascii_digit());
    digits.get(..end.unwrap_or(digits.len()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for text in ["v252.39-1~deb12u1", "252", "\"v252-1.fc32\"", "252~rc1"] {
            assert_eq!(number_in(text), Some(252), "{text}");
        }
        assert_eq!(number_in("vx"), None);
    }

    #[test]
    fn addresses() {
        let path = Path::new("/run/user/1000/a b;c=d");
        assert_eq!(escaped(path), "/run/user/1000/a%20b%3bc%3dd");
    }
}
