//! Whom to believe: the system's roots, those of `certs.d`, and nobody for insecure registries.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::config::Trust;
use crate::{Error, Kind, hosts};

/// Everything that settings for one host are made of, with the times of change of its files, so
/// that they are made anew when one changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Sources {
    skip_verify: bool,
    ca: Vec<(PathBuf, Stamp)>,
    client: Vec<(PathBuf, PathBuf, Stamp, Stamp)>,
}

/// Time of change in nanoseconds, and length; `None` for a file that is not there.
type Stamp = Option<(i128, u64)>;

impl Sources {
    /// Those of a host: what its endpoint names, and what lies in its directories.
    pub(crate) fn gather(trust: &Trust, dirs: &[PathBuf], authority: &str) -> Self {
        let (mut ca, mut client) = (trust.ca.clone(), trust.client.clone());
        for dir in dirs {
            for dir in hosts::names(authority).map(|name| dir.join(name)) {
                ca.extend(files(&dir, "crt"));
                let certificates = files(&dir, "cert");
                client.extend(certificates.into_iter().map(|path| {
                    let key = path.with_extension("key");
                    (path, key)
                }));
            }
        }
        let stamped = |path: PathBuf| {
            let stamp = stamp(&path);
            (path, stamp)
        };
        Self {
            skip_verify: trust.skip_verify,
            ca: ca.into_iter().map(stamped).collect(),
            client: client
                .into_iter()
                .map(|(path, key)| {
                    let stamps = (stamp(&path), stamp(&key));
                    (path, key, stamps.0, stamps.1)
                })
                .collect(),
        }
    }

    /// TLS settings.
    pub(crate) fn settings(&self) -> Result<Arc<ClientConfig>, Error> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(Kind::Invalid, format!("TLS: {error}")))?;
        let builder = if self.skip_verify {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let mut config = match self.client.first() {
            Some((path, key, ..)) => {
                let private =
                    PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
                builder
                    .with_client_auth_cert(certificates(path)?, private)
                    .map_err(|error| unusable(path, &error))?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        // Single unreadable system certificates are left out, as by other clients.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for (path, _) in &self.ca {
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .map_err(|error| unusable(path, &error))?;
            }
        }
        Ok(roots)
    }
}

fn stamp(path: &Path) -> Stamp {
    let facts = std::fs::metadata(path).ok()?;
    let time = i128::from(facts.mtime()) * 1_000_000_000 + i128::from(facts.mtime_nsec());
    Some((time, facts.len()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Invalid, format!("{}: {error}", path.display()))
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|it| it == extension))
        .collect();
    found.sort();
    found
}

/// Accepts every certificate, but still wants the handshake signed with its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
