//! What every command shares: the global options, the configuration and the engine's client.

use std::cell::OnceCell;
use std::path::PathBuf;

use client::{ApiVersion, Client, Config, Host, TlsFiles};

use super::configfile::ConfigFile;
use super::failure::{Failure, Outcome};
use super::flags::Parsed;
use super::{autostart, out};

/// Corten's own socket.
pub(crate) const OWN_SOCKET: &str = "/run/corten/corten.sock";
/// Where docker's clients look.
pub(crate) const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// Number of a descriptor that the daemon writes `1` to when it listens, or the reason why not.
pub(crate) const READY_VARIABLE: &str = "CORTEN_READY_FD";

/// The program at work.
#[derive(Debug)]
pub(crate) struct App {
    /// `corten` or `docker`: how it was called.
    pub(crate) program: &'static str,
    globals: Parsed,
    config: OnceCell<ConfigFile>,
    client: OnceCell<Client>,
}

impl App {
    /// With these global options.
    pub(crate) fn new(program: &'static str, globals: Parsed) -> Self {
        Self {
            program,
            globals,
            config: OnceCell::new(),
            client: OnceCell::new(),
        }
    }

    /// Whether `-D` was given.
    pub(crate) fn debug(&self) -> bool {
        self.globals.on("debug")
    }

    /// Directory of docker's configuration.
    pub(crate) fn config_dir(&self) -> PathBuf {
        match self.globals.text("config") {
            "" => ConfigFile::default_dir(),
            dir => dir.into(),
        }
    }

    /// docker's configuration; one that cannot be read is reported and taken as empty.
    pub(crate) fn config(&self) -> &ConfigFile {
        self.config.get_or_init(|| {
            ConfigFile::load(&self.config_dir()).unwrap_or_else(|failure| {
                out::error(&format!("WARNING: {}", failure.text));
                ConfigFile::default()
            })
        })
    }

    /// Name of the context in use; only the default one exists.
    pub(crate) fn context(&self) -> &'static str {
        "default"
    }

    /// The engine's client, starting an engine where none runs and none was named.
    ///
    /// # Errors
    /// Options that name no engine, or an engine that cannot be started.
    pub(crate) async fn client(&self) -> Outcome<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let host = self.named_host()?;
        let (host, ours) = match host {
            Some(host) => (host, false),
            None => {
                let socket = autostart::find_or_start(self.program).await?;
                let ours = socket == OWN_SOCKET;
                (Host::Unix(socket.into()), ours)
            }
        };
        let tls = self.tls(&host)?;
        let config = Config {
            host,
            tls,
            version: self.version(ours),
            user_agent: format!(
                "corten/{} ({})",
                env!("CARGO_PKG_VERSION"),
                std::env::consts::OS
            ),
            headers: self.config().map("HttpHeaders").into_iter().collect(),
        };
        let client = Client::new(config)
            .map_err(|error| Failure::new(format!("Failed to initialize: {error}")))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// The newest version is tried on an engine of our own; others are asked first.
    fn version(&self, ours: bool) -> ApiVersion {
        match std::env::var("DOCKER_API_VERSION") {
            Ok(version) if !version.is_empty() => {
                ApiVersion::Fixed(version.trim_start_matches('v').to_owned())
            }
            _ if ours => ApiVersion::Try(dockerapi::API_VERSION.into()),
            _ => ApiVersion::Negotiate(dockerapi::API_VERSION.into()),
        }
    }

    /// `--host`, `--context` and `DOCKER_HOST`, in docker's order.
    fn named_host(&self) -> Outcome<Option<Host>> {
        let hosts = self.globals.list("host");
        let context = self.globals.text("context");
        if hosts.len() > 1 {
            return Err(unresolved("Specify only one -H"));
        }
        if let Some(host) = hosts.first() {
            if !context.is_empty() {
                return Err("conflicting options: cannot specify both --host and --context".into());
            }
            return self.parse_host(host).map(Some);
        }
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if context.is_empty()
            && let Some(host) = variable("DOCKER_HOST")
        {
            return self.parse_host(&host).map(Some);
        }
        let named = if context.is_empty() {
            variable("DOCKER_CONTEXT")
                .unwrap_or_else(|| self.config().text("currentContext").into())
        } else {
            context.to_owned()
        };
        if matches!(named.as_str(), "" | "default") {
            return Ok(None);
        }
        Err(Failure::new(format!(
            "Failed to initialize: unable to resolve docker endpoint: context {named:?}: contexts other than \"default\" are not supported"
        )))
    }

    fn parse_host(&self, text: &str) -> Outcome<Host> {
        let text = if text.contains("://") {
            text.to_owned()
        } else {
            format!("tcp://{text}")
        };
        match text.split_once("://") {
            Some(("unix" | "tcp" | "ssh" | "fd" | "npipe" | "http" | "https", _)) | None => {}
            Some(_) => {
                return Err(unresolved(&format!("invalid bind address format: {text}")));
            }
        }
        text.parse()
            .map_err(|error: client::InvalidHost| Failure::new(error.to_string()))
    }

    /// `--tls…` and their variables. Certificates are looked for in the configuration's
    /// directory, and need not be there unless they were named.
    fn tls(&self, host: &Host) -> Outcome<Option<TlsFiles>> {
        let verify = if self.globals.changed("tlsverify") {
            self.globals.on("tlsverify")
        } else {
            std::env::var_os("DOCKER_TLS_VERIFY").is_some_and(|value| !value.is_empty())
        };
        let asked = verify
            || self.globals.on("tls")
            || std::env::var_os("DOCKER_TLS").is_some_and(|value| !value.is_empty());
        if !asked || host.socket().is_some() {
            return Ok(None);
        }
        let dir = std::env::var_os("DOCKER_CERT_PATH")
            .filter(|dir| !dir.is_empty())
            .map_or_else(|| self.config_dir(), PathBuf::from);
        let file = |flag: &str, name: &str| -> Outcome<Option<PathBuf>> {
            let named = self.globals.text(flag);
            if !named.is_empty() {
                return Ok(Some(named.into()));
            }
            let path = dir.join(name);
            Ok(path.exists().then_some(path))
        };
        let ca = file("tlscacert", "ca.pem")?;
        if verify && ca.is_none() {
            return Err(Failure::new(format!(
                "Failed to initialize: unable to resolve docker endpoint: open {}: no such file or directory",
                dir.join("ca.pem").display()
            )));
        }
        Ok(Some(TlsFiles {
            ca,
            cert: file("tlscert", "cert.pem")?,
            key: file("tlskey", "key.pem")?,
            verify,
        }))
    }
}

fn unresolved(why: &str) -> Failure {
    Failure::new(format!(
        "Failed to initialize: unable to resolve docker endpoint: {why}"
    ))
}
