//! Syslog over TLS: which certificates are trusted, and what counts as delivered.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};
use spanner_ship::{Format, Shipment, SyslogReceiver};

use super::syslog::parse;
use super::{PATIENCE, Stock};

/// A certificate authority, with its certificate in a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The configuration of a server with this name.
    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![CertificateDer::from(certificate)];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_no_client_auth();
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }
}

/// Accepts connections and passes each to `take`.
fn listen(mut take: impl FnMut(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().for_each(|it| take(it.unwrap())));
    format!("localhost:{port}")
}

/// Reads each connection to its end, and acknowledges all but the first `unsaid` ones.
fn serve(config: Arc<ServerConfig>, mut unsaid: usize) -> (String, mpsc::Receiver<Vec<u8>>) {
    let (seen, taken) = mpsc::channel();
    let address = listen(move |mut tcp| {
        let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut all = Vec::new();
        let read = Stream::new(&mut connection, &mut tcp).read_to_end(&mut all);
        if read.is_err() || all.is_empty() {
            return;
        }
        // The test may have ended.
        let _: Result<(), _> = seen.send(all);
        if unsaid > 0 {
            unsaid -= 1;
            return;
        }
        connection.send_close_notify();
        connection.write_tls(&mut tcp).unwrap();
    });
    (address, taken)
}

fn shipment(stock: &Stock, receiver: SyslogReceiver) -> Shipment {
    let moment = Duration::from_millis(1);
    Shipment::new(stock.dir(), "test", Format::Syslog, receiver)
        .batch(10)
        .patience(moment, moment)
}

#[test]
fn counts_messages_once_the_receiver_closes_properly() {
    let (stock, authority) = (Stock::of(24), Authority::new());
    let (address, taken) = serve(authority.server("localhost"), 2);
    let receiver = SyslogReceiver::tls_with_ca(address, authority.file()).unwrap();
    let shipping = shipment(&stock, receiver).start().unwrap();
    let mut sequences = Vec::new();
    for _ in 0..5 {
        let messages = parse(&taken.recv_timeout(PATIENCE).unwrap());
        let sequence = |(name, value): &(String, String)| {
            (name == "sequence").then(|| value.parse::<u64>().unwrap())
        };
        let first = messages[0].data.iter().find_map(sequence).unwrap();
        sequences.push((first, messages.len()));
    }
    // The first batch was read twice without being acknowledged.
    assert_eq!(sequences, [(0, 10), (0, 10), (0, 10), (10, 10), (20, 5)]);
    let status = shipping.finish(PATIENCE);
    assert_eq!((status.delivered, status.failing), (25, None));
}

/// The reason why shipping fails.
fn failing(receiver: SyslogReceiver) -> String {
    let stock = Stock::of(3);
    let shipping = shipment(&stock, receiver).start().unwrap();
    let mut standings = std::iter::repeat_with(|| shipping.status()).take(1_000_000_000);
    let reason = standings.find_map(|it| it.failing).unwrap();
    assert_eq!(shipping.status().delivered, 0);
    reason
}

#[test]
fn sends_nothing_to_an_untrusted_server() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (misnamed, nothing) = serve(authority.server("other.example.com"), 0);
    let receiver = SyslogReceiver::tls_with_ca(misnamed, authority.file()).unwrap();
    let reason = failing(receiver);
    assert!(reason.contains("not valid for name"), "{reason}");
    assert!(nothing.try_recv().is_err());
    let (stranger, nothing) = serve(other.server("localhost"), 0);
    let receiver = SyslogReceiver::tls_with_ca(&stranger, authority.file()).unwrap();
    let reason = failing(receiver);
    assert!(reason.contains("invalid peer certificate"), "{reason}");
    // The platform's roots, if there are any, do not trust it either.
    if let Ok(receiver) = SyslogReceiver::tls(stranger) {
        let reason = failing(receiver);
        assert!(reason.contains("invalid peer certificate"), "{reason}");
    }
    assert!(nothing.try_recv().is_err());
}

#[test]
fn sends_no_entry_to_a_receiver_without_tls() {
    let authority = Authority::new();
    let (seen, taken) = mpsc::channel();
    let plain = listen(move |mut tcp| {
        let mut start = [0; 6];
        let _: std::io::Result<()> = tcp.read_exact(&mut start);
        // The test may have ended.
        let _: Result<(), _> = seen.send(start);
        let _: std::io::Result<()> = tcp.write_all(b"220 syslog, in the clear\r\n");
    });
    let receiver = SyslogReceiver::tls_with_ca(plain, authority.file()).unwrap();
    let reason = failing(receiver);
    assert!(!reason.is_empty());
    // A handshake record with a ClientHello, and no message.
    let start = taken.recv().unwrap();
    assert_eq!((start[0], start[5]), (22, 1));
}

#[test]
fn gives_up_on_an_endless_handshake() {
    let authority = Authority::new();
    let slow = listen(|mut tcp| {
        // Single bytes of a record that never ends.
        let header = [22, 3, 3, 64, 0];
        let drip = header.into_iter().chain(std::iter::repeat(2));
        for byte in drip {
            if tcp.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    });
    let receiver = SyslogReceiver::tls_with_ca(slow, authority.file()).unwrap();
    let reason = failing(receiver.patience(Duration::from_millis(200)));
    assert!(!reason.is_empty());
}

#[test]
fn refuses_receivers_that_cannot_be_authenticated() {
    let authority = Authority::new();
    let nowhere = SyslogReceiver::tls_with_ca("localhost:6514", "/nowhere/ca.pem");
    assert!(
        nowhere
            .unwrap_err()
            .to_string()
            .contains("`/nowhere/ca.pem`")
    );
    let empty = authority.folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate\n").unwrap();
    let empty = SyslogReceiver::tls_with_ca("localhost:6514", empty);
    assert!(
        empty
            .unwrap_err()
            .to_string()
            .contains("no certificate in it")
    );
    let named = SyslogReceiver::tls_with_ca("not a host:6514", authority.file());
    assert!(named.is_err());
    let addressed = SyslogReceiver::tls_with_ca("[::1]:6514", authority.file());
    assert!(addressed.is_ok());
}
