//! TLS for syslog.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::receiver::until_closed;

/// The trusted roots and the expected server name.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// Trusts the platform's roots.
    pub(crate) fn platform(address: &str) -> io::Result<Self> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.and_then(BuilderVerifierExt::with_platform_verifier);
        let config = builder.map_err(io::Error::other)?.with_no_client_auth();
        Self::of(address, config)
    }

    /// Trusts only the authorities in a PEM file.
    pub(crate) fn authorities(address: &str, file: &Path) -> io::Result<Self> {
        let wrong = |what: &dyn std::fmt::Display| {
            let what = format!("`{}`: {what}", file.display());
            io::Error::new(io::ErrorKind::InvalidData, what)
        };
        let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            let certificate = certificate.map_err(|error| wrong(&error))?;
            roots.add(certificate).map_err(|error| wrong(&error))?;
        }
        if roots.is_empty() {
            return Err(wrong(&"there is no certificate in it"));
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(io::Error::other)?;
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        Self::of(address, config)
    }

    fn of(address: &str, config: ClientConfig) -> io::Result<Self> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.strip_prefix('[').unwrap_or(host);
        let host = host.strip_suffix(']').unwrap_or(host).to_owned();
        let name = ServerName::try_from(host);
        let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let config = Arc::new(config);
        Ok(Self { config, name })
    }

    /// Sends bytes and waits until the receiver closes the connection properly. TLS authenticates
    /// the closure, so an attacker cannot make a cut connection look like a delivery.
    pub(crate) fn send(
        &self,
        mut stream: TcpStream,
        bytes: &[u8],
        patience: Duration,
    ) -> io::Result<()> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let mut connection = connection.map_err(io::Error::other)?;
        let until = Instant::now() + patience;
        let mut patient = Patient(&stream, until);
        while connection.is_handshaking() {
            connection.complete_io(&mut patient)?;
        }
        stream.set_write_timeout(Some(patience))?;
        stream.set_read_timeout(Some(patience))?;
        Stream::new(&mut connection, &mut stream).write_all(bytes)?;
        // The TCP connection stays open: a receiver need not answer once it is closed (RFC 5425
        // §4.4).
        connection.send_close_notify();
        let mut stream = Stream::new(&mut connection, &mut stream);
        stream.flush()?;
        until_closed(&mut stream)
    }
}

/// A connection with a deadline for all operations together, however slowly the peer sends.
struct Patient<'a>(&'a TcpStream, Instant);

impl Patient<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.1.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.set_read_timeout(self.left()?)?;
        self.0.read(bytes)
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.set_write_timeout(self.left()?)?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
