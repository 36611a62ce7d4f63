//! Registries, as all of the engine reaches them: one client, so that connections and TLS settings
//! are shared, and who we are to each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dockerapi::AuthConfig;
use registry::{Client, Credentials, Kind, Proxy};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};

use crate::{Error, ErrorKind, Live, Result};

/// Docker Hub's name in references.
const HUB: &str = "docker.io";

/// What pulls share.
#[derive(Debug)]
pub(crate) struct Registries {
    pub(crate) client: Client,
    /// One for each layer that may be fetched at the same time, whoever asked for it.
    pub(crate) slots: Arc<Semaphore>,
    /// Layers being made, by chain.
    turns: Mutex<HashMap<String, Weak<AsyncMutex<()>>>>,
}

impl Registries {
    /// With the engine's settings, and proxies from the environment.
    pub(crate) fn new(config: &Live) -> Self {
        let client = Client::new(registry::Config {
            insecure: config.insecure_registries.clone(),
            mirrors: config.registry_mirrors.clone(),
            attempts: config.max_download_attempts.max(1),
            proxy: Proxy::from_env(),
            ..registry::Config::default()
        });
        let slots = config.max_concurrent_downloads;
        Self {
            client,
            slots: Arc::new(Semaphore::new(slots.clamp(1, Semaphore::MAX_PERMITS))),
            turns: Mutex::default(),
        }
    }

    /// The lock of a layer: who has it makes the layer, others find it made.
    pub(crate) fn turn(&self, chain: &str) -> Arc<AsyncMutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = turns.get(chain).and_then(Weak::upgrade) {
            return known;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(chain.to_owned(), Arc::downgrade(&turn));
        turn
    }

    /// Checks credentials. Answers moby's text and an identity token, which may be empty.
    ///
    /// # Errors
    /// Unauthorized when the registry refuses them.
    pub(crate) async fn login(&self, auth: AuthConfig) -> Result<(String, String)> {
        let domain = domain_of(&auth.serveraddress)?;
        let token = self.client.login(&domain, &credentials(auth)).await?;
        Ok(("Login Succeeded".into(), token))
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
    use super::domain_of;

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
