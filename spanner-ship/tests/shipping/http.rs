//! Shipping over HTTP to a server that fails, is slow, repeats or does not answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use spanner_ship::{Endpoint, Format, HttpReceiver, Receiver, Shipment};

use super::{PATIENCE, Stock, check_whole};

/// One complete request.
#[derive(Debug, Clone)]
pub(super) struct Posted {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

/// Returns the n-th response of the script; `None` closes the connection without a response, and
/// a body is sent with status 200.
fn serve(
    mut answer: impl FnMut(usize) -> Option<(u16, Vec<u8>)> + Send + 'static,
) -> (String, mpsc::Receiver<Posted>) {
    let mut number = 0;
    serve_each(move |_| {
        number += 1;
        answer(number - 1)
    })
}

/// Answers each request as scripted.
pub(super) fn serve_each(
    mut answer: impl FnMut(&Posted) -> Option<(u16, Vec<u8>)> + Send + 'static,
) -> (String, mpsc::Receiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let (seen, posted) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let Some(request) = read(&stream) else {
                continue;
            };
            // The test may have ended.
            let _: Result<(), _> = seen.send(request.clone());
            let Some((status, body)) = answer(&request) else {
                continue;
            };
            let head = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\nlocation: http://127.0.0.1:1/\r\n\r\n",
                body.len()
            );
            let sent = stream.write_all(head.as_bytes());
            let _: std::io::Result<()> = sent.and_then(|()| stream.write_all(&body));
        }
    });
    (url, posted)
}

fn read(stream: &TcpStream) -> Option<Posted> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap_or("0\r\n");
    let length: usize = length.split("\r\n").next()?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Posted { head, body })
}

fn ship(stock: &Stock, format: Format, receiver: impl Receiver + 'static) -> Shipment {
    Shipment::new(stock.dir(), "test", format, receiver)
        .batch(10)
        .patience(Duration::from_millis(1), Duration::from_millis(2))
}

#[test]
fn every_entry_arrives_despite_failures_redirects_and_closed_connections() {
    let stock = Stock::of(49);
    let (url, posted) = serve(|number| match number {
        0 => Some((500, vec![])),
        1 => Some((302, vec![])),
        2 => None,
        3 => Some((401, vec![])),
        4 => Some((429, vec![])),
        _ => Some((200, vec![])),
    });
    let credential = "Bearer secret".parse().unwrap();
    let receiver = HttpReceiver::lines(Endpoint::new(url).authorization(credential));
    assert!(!format!("{receiver:?}").contains("secret"));
    let shipping = ship(&stock, Format::JsonLines, receiver).start().unwrap();
    let mut lines: Vec<Value> = Vec::new();
    let mut keys = Vec::new();
    while !lines.iter().any(|line| line["sequence"] == 49) {
        let Posted { head, body } = posted.recv_timeout(PATIENCE).unwrap();
        assert!(
            head.contains("content-type: application/x-ndjson"),
            "{head}"
        );
        assert!(head.contains("authorization: bearer secret"), "{head}");
        let key = head.split("idempotency-key: ").nth(1).unwrap();
        keys.push(key.split("\r\n").next().unwrap().to_owned());
        let text = String::from_utf8(body).unwrap();
        lines.extend(
            text.lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()),
        );
    }
    check_whole(&lines, 50);
    assert_eq!(keys[0], keys[5], "the same batch has the same key");
    assert_eq!(shipping.finish(PATIENCE).set_aside, 0);
}

#[test]
fn retries_after_a_timeout() {
    let stock = Stock::of(3);
    let (slow, hang) = mpsc::channel::<()>();
    let (url, posted) = serve(move |number| {
        if number == 0 {
            // Until the sender has timed out.
            let _: Result<(), _> = hang.recv();
        }
        Some((200, vec![]))
    });
    let receiver = HttpReceiver::lines(Endpoint::new(url).timeout(Duration::from_millis(100)));
    let shipping = ship(&stock, Format::JsonLines, receiver).start().unwrap();
    posted.recv_timeout(PATIENCE).unwrap();
    let mut standings = std::iter::repeat_with(|| shipping.status()).take(1_000_000_000);
    let failing = standings.find_map(|it| it.failing).unwrap();
    assert!(
        failing.contains("timed out") || failing.contains("error sending"),
        "{failing}"
    );
    drop(slow);
    posted.recv_timeout(PATIENCE).unwrap();
    drop(shipping);
}

#[cfg(feature = "otlp")]
#[test]
fn a_collector_decodes_otlp_and_rejected_records_are_set_aside() {
    use opentelemetry_proto::tonic::collector::logs::v1::{
        ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
    };
    use prost::Message;

    let stock = Stock::of(19);
    let (url, posted) = serve(|number| {
        let rejected = i64::from(number == 0);
        let answer = ExportLogsServiceResponse {
            partial_success: Some(ExportLogsPartialSuccess {
                rejected_log_records: rejected,
                ..ExportLogsPartialSuccess::default()
            }),
        };
        Some((200, answer.encode_to_vec()))
    });
    let shipping = ship(&stock, Format::Otlp, HttpReceiver::otlp(url))
        .start()
        .unwrap();
    let mut uids = std::collections::BTreeSet::new();
    while uids.len() < 20 {
        let Posted { head, body } = posted.recv_timeout(PATIENCE).unwrap();
        assert!(
            head.contains("content-type: application/x-protobuf"),
            "{head}"
        );
        let request = ExportLogsServiceRequest::decode(&*body).unwrap();
        for record in &request.resource_logs[0].scope_logs[0].log_records {
            assert!(record.time_unix_nano > 0 && record.event_name.starts_with("spanner."));
            let uid = &record.attributes[0];
            assert_eq!(uid.key, "log.record.uid");
            uids.insert(format!("{:?}", uid.value));
        }
    }
    let status = shipping.finish(PATIENCE);
    assert_eq!((status.delivered, status.set_aside), (20, 0));
}
