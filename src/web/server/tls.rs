//! TLS of Causeway's own HTTP server, with rustls.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::WebTlsConfig;
use crate::web::reread::Reread;

/// The certificate, as its files have it now.
#[derive(Debug)]
pub(super) struct Tls(Reread<ServerConfig>);

impl Tls {
    /// Reads certificate and key; `None` where the configuration names none.
    ///
    /// # Errors
    /// One of them cannot be used, or they do not belong together.
    pub(super) fn open(config: &WebTlsConfig) -> Result<Option<Self>, String> {
        let (Some(certificate), Some(key)) = (config.certificate.clone(), config.key.clone()) else {
            return Ok(None);
        };
        let paths = vec![certificate.clone(), key.clone()];
        Reread::open(paths, move || read(&certificate, &key)).map(Self).map(Some)
    }

    /// What a new connection is greeted with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.get())
    }
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig, String> {
    let of_chain = |error| format!("web.tls.certificate: {}: {error}", certificate.display());
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error: rustls::pki_types::pem::Error| of_chain(error.to_string()))?;
    if chain.is_empty() {
        return Err(of_chain("holds no certificate in PEM".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| format!("web.tls.key: {}: {error}", key.display()))?;
    let together = |error: rustls::Error| {
        format!("web.tls: {} and {} cannot be used together: {error}", certificate.display(), key.display())
    };
    // Named, so that nothing depends on which provider the process has.
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(together)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(together)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
