//! Registries, as all of the engine reaches them: one client, so that connections and TLS settings
//! are shared, and who we are to each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use dockerapi::AuthConfig;
use oci::Digest;
use registry::{Client, Credentials, Kind, Proxy};
use tokio::sync::Semaphore;

use crate::pull::Download;
use crate::{Config, Error, ErrorKind, Live, RegistriesSource, RegistrySettings, Result};

/// Docker Hub's name in references.
const HUB: &str = "docker.io";

/// What pulls share.
#[derive(Debug)]
pub(crate) struct Registries {
    client: Client,
    settings: RwLock<Arc<RegistrySettings>>,
    source: Option<RegistriesSource>,
    attempts: AtomicU32,
    /// One for each layer that may be fetched at the same time, whoever asked for it.
    slots: RwLock<Arc<Semaphore>>,
    /// Blobs on their way, by digest.
    downloads: Mutex<HashMap<Digest, Weak<Download>>>,
}

impl Registries {
    /// With the engine's settings, and proxies from the environment.
    pub(crate) fn new(config: &Config, live: &Live) -> Self {
        let attempts = live.max_download_attempts.max(1);
        let settings = Arc::new(live.registries.clone());
        Self {
            client: Client::new(client_config(&settings, attempts)),
            settings: RwLock::new(settings),
            source: config.registries_source.clone(),
            attempts: attempts.into(),
            slots: RwLock::new(slots(live)),
            downloads: Mutex::default(),
        }
    }

    /// The client, with the settings of now.
    pub(crate) fn client(&self) -> &Client {
        self.refresh();
        &self.client
    }

    /// The settings of now.
    pub(crate) fn settings(&self) -> Arc<RegistrySettings> {
        self.refresh();
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// One for each layer that may be fetched at the same time.
    pub(crate) fn slots(&self) -> Arc<Semaphore> {
        Arc::clone(&self.slots.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes these settings. What is under way goes on as it began.
    pub(crate) fn take(&self, live: &Live) {
        let attempts = live.max_download_attempts.max(1);
        self.attempts.store(attempts, Ordering::Relaxed);
        *self.slots.write().unwrap_or_else(PoisonError::into_inner) = slots(live);
        self.set(live.registries.clone());
    }

    fn set(&self, new: RegistrySettings) {
        let attempts = self.attempts.load(Ordering::Relaxed);
        self.client.configure(client_config(&new, attempts));
        let mut settings = self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *settings = Arc::new(new);
    }

    /// Takes over settings that have changed. Broken ones are told and change nothing.
    fn refresh(&self) {
        let Some(source) = &self.source else { return };
        match (source.0)() {
            Ok(None) => {}
            Ok(Some(new)) => {
                tracing::info!("settings of registries were read again");
                self.set(new);
            }
            Err(error) => {
                tracing::warn!(err = %error, "settings of registries stay as they were");
            }
        }
    }

    /// A blob that is wanted: the same for all who want it at the same time.
    pub(crate) fn download(&self, blob: &Digest) -> Arc<Download> {
        let mut downloads = self
            .downloads
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = downloads.get(blob).and_then(Weak::upgrade) {
            return known;
        }
        downloads.retain(|_, download| download.strong_count() > 0);
        let download = Arc::default();
        downloads.insert(blob.clone(), Arc::downgrade(&download));
        download
    }

    /// Checks credentials. Answers moby's text and an identity token, which may be empty.
    ///
    /// # Errors
    /// Unauthorized when the registry refuses them.
    pub(crate) async fn login(&self, auth: AuthConfig) -> Result<(String, String)> {
        let domain = domain_of(&auth.serveraddress)?;
        let token = self.client().login(&domain, &credentials(auth)).await?;
        Ok(("Login Succeeded".into(), token))
    }
}

fn slots(live: &Live) -> Arc<Semaphore> {
    let slots = live.max_concurrent_downloads;
    Arc::new(Semaphore::new(slots.clamp(1, Semaphore::MAX_PERMITS)))
}

pub(crate) fn client_config(settings: &RegistrySettings, attempts: u32) -> registry::Config {
    let environment = Proxy::from_env();
    let either = |own: &String, other: String| match own.is_empty() {
        true => other,
        false => own.clone(),
    };
    let default = registry::Config::default();
    registry::Config {
        insecure: settings.insecure.clone(),
        mirrors: settings.mirrors.clone(),
        hosts_dirs: match settings.hosts_dirs.is_empty() {
            true => default.hosts_dirs.clone(),
            false => settings.hosts_dirs.clone(),
        },
        attempts,
        proxy: Proxy {
            http: either(&settings.http_proxy, environment.http),
            https: either(&settings.https_proxy, environment.https),
            none: either(&settings.no_proxy, environment.none),
        },
        offline: settings.offline,
        ..default
    }
}

/// A proxy's URL as others may see it: docker's way to hide credentials.
pub(crate) fn masked(proxy: &str) -> String {
    let Some((scheme, rest)) = proxy.split_once("://") else {
        return proxy.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://xxxxx:xxxxx@{host}{}", &rest[end..]),
        None => proxy.to_owned(),
    }
}

/// What a client sent, for the registry client.
pub(crate) fn credentials(auth: AuthConfig) -> Credentials {
    Credentials {
        username: auth.username,
        password: auth.password,
        identity_token: auth.identitytoken,
        registry_token: auth.registrytoken,
    }
}

/// The registry's name in references: `https://index.docker.io/v1/` is `docker.io`.
fn domain_of(address: &str) -> Result<String> {
    let rest = ["https://", "http://"]
        .iter()
        .find_map(|scheme| address.strip_prefix(scheme));
    let host = rest
        .unwrap_or(address)
        .split(['/', '?', '#'])
        .next()
        .unwrap_or_default();
    if host.contains(|c: char| c.is_whitespace() || c == '@') {
        return Err(Error::invalid(format!(
            "unable to parse server address: {address:?}"
        )));
    }
    match host {
        "" | "index.docker.io" | "registry-1.docker.io" => Ok(HUB.into()),
        host => Ok(host.to_owned()),
    }
}

impl From<registry::Error> for Error {
    fn from(error: registry::Error) -> Self {
        let kind = match error.kind {
            // As moby: whether a repository is hidden or absent is not for the client to know.
            Kind::NotFound | Kind::Denied => ErrorKind::NotFound,
            Kind::Unauthorized => ErrorKind::Unauthorized,
            Kind::Unsupported => ErrorKind::NotImplemented,
            Kind::Invalid => ErrorKind::InvalidParameter,
            Kind::Offline => ErrorKind::Unavailable,
            Kind::RateLimited | Kind::Unavailable | Kind::Timeout | Kind::Corrupt => {
                ErrorKind::System
            }
        };
        Self {
            kind,
            message: error.message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{domain_of, masked};

    #[test]
    fn credentials_of_proxies_are_hidden() {
        for (proxy, shown) in [
            ("http://u:p@h:1/x", "http://xxxxx:xxxxx@h:1/x"),
            ("http://h:1", "http://h:1"),
            ("h:1", "h:1"),
            ("", ""),
        ] {
            assert_eq!(masked(proxy), shown);
        }
    }

    #[test]
    fn addresses_of_log_ins() {
        for (address, domain) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("quay.io", "quay.io"),
            ("http://127.0.0.1:5000/v2/", "127.0.0.1:5000"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(domain_of(address).expect(address), domain);
        }
        assert!(domain_of("https://a b").is_err());
        assert!(domain_of("https://user:secret@host/").is_err());
    }
}
