//! Syslog over TCP, parsed by a strict parser of RFC 5424 and RFC 6587.

use std::io::Read;
use std::net::TcpListener;
use std::thread;

use spanner_core::AuditSink;
use spanner_core::record::Decision;
use spanner_ship::{Format, Shipment, SyslogReceiver};

use super::Stock;

/// One parsed message.
#[derive(Debug)]
pub(super) struct Message {
    priority: u32,
    id: String,
    pub(super) data: Vec<(String, String)>,
    json: serde_json::Value,
}

/// Splits a stream into messages. Panics on any invalid byte.
pub(super) fn parse(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').unwrap();
        let length: usize = std::str::from_utf8(&bytes[..space])
            .unwrap()
            .parse()
            .unwrap();
        let (message, rest) = bytes[space + 1..].split_at(length);
        messages.push(message_of(std::str::from_utf8(message).unwrap()));
        bytes = rest;
    }
    messages
}

fn message_of(text: &str) -> Message {
    assert!(
        text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "{text}"
    );
    let (priority, rest) = text.strip_prefix('<').unwrap().split_once('>').unwrap();
    let mut parts = rest.splitn(7, ' ');
    assert_eq!(parts.next(), Some("1"));
    let time = parts.next().unwrap();
    assert!(time.len() <= 32 && time.ends_with('Z'), "{time}");
    let _: jiff::Timestamp = time.parse().unwrap();
    let [host, app, process, id] = std::array::from_fn(|_| parts.next().unwrap());
    assert!(!host.is_empty());
    assert_eq!((app, process), ("spanner", "-"));
    let (data, json) = structured(parts.next().unwrap());
    Message {
        priority: priority.parse().unwrap(),
        id: id.to_owned(),
        data,
        json: serde_json::from_str(json).unwrap(),
    }
}

fn structured(text: &str) -> (Vec<(String, String)>, &str) {
    let mut rest = text.strip_prefix("[spanner@32473").unwrap();
    let mut data = Vec::new();
    while let Some(param) = rest.strip_prefix(' ') {
        let (name, value) = param.split_once("=\"").unwrap();
        let mut read = String::new();
        let mut characters = value.char_indices();
        let end = loop {
            match characters.next().unwrap() {
                (_, '\\') => read.push(characters.next().unwrap().1),
                (at, '"') => break at,
                (_, ']') => panic!("an unescaped bracket in {value}"),
                (_, other) => read.push(other),
            }
        };
        data.push((name.to_owned(), read));
        rest = &value[end + 1..];
    }
    (data, rest.strip_prefix("] ").unwrap())
}

/// Accepts connections and resets the first ones.
fn listen(broken: usize) -> (String, thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let taking = thread::spawn(move || {
        for _ in 0..broken {
            let (mut stream, _) = listener.accept().unwrap();
            // Closing with unread bytes resets the connection.
            let _: std::io::Result<usize> = stream.read(&mut [0; 1]);
        }
        let mut all = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_to_end(&mut all).unwrap();
            if String::from_utf8_lossy(&all).contains("\"last\":true") {
                return all;
            }
        }
    });
    (address, taking)
}

/// Records the first decision of the examples. Its subject contains spaces, quotes, a bracket, a
/// backslash and a character that changes the text direction.
fn record_a_hostile_caller(stock: &Stock) -> String {
    let line = include_str!("../../../spanner-ledger/tests/data/entries.jsonl")
        .lines()
        .next()
        .unwrap();
    let decision: Decision = serde_json::from_str(line).unwrap();
    let subject = decision.caller.clone().unwrap().subject.subject;
    drop(stock.ledger.record(decision).unwrap());
    subject
}

#[test]
fn messages_conform_to_rfc_5424_and_arrive_despite_resets() {
    let stock = Stock::of(25);
    let caller = record_a_hostile_caller(&stock);
    let hostile = serde_json::json!({"said": "a\"]\n<13>1 forged \u{202e}ü😀", "last": true});
    drop(
        stock
            .ledger
            .event("test.\"hostile\"]\\", hostile.clone())
            .unwrap(),
    );
    let (address, taking) = listen(3);
    let shipment = Shipment::new(
        stock.dir(),
        "test",
        Format::Syslog,
        SyslogReceiver::new(address),
    )
    .batch(10)
    .patience(
        std::time::Duration::from_millis(1),
        std::time::Duration::from_millis(2),
    );
    let shipping = shipment.start().unwrap();
    let messages = parse(&taking.join().unwrap());
    drop(shipping);
    let mut sequences: Vec<u64> = messages
        .iter()
        .map(|it| {
            let (name, sequence) = &it.data[1];
            assert_eq!(name, "sequence");
            sequence.parse().unwrap()
        })
        .collect();
    sequences.dedup();
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences, (0..28).collect::<Vec<_>>());
    let decided = messages
        .iter()
        .find(|it| it.id == "decision.allow")
        .unwrap();
    assert_eq!(decided.priority, 13 * 8 + 6);
    let said = decided
        .data
        .iter()
        .find(|(name, _)| name == "caller")
        .unwrap();
    assert_eq!(
        said.1,
        r#"agent:corp/copilot for user:corp/"sam \u{202e}']\""#
    );
    assert_eq!(decided.json["caller"]["subject"], caller);
    let last = messages.last().unwrap();
    assert_eq!((last.priority, last.id.as_str()), (13 * 8 + 5, "event"));
    assert_eq!(last.json["body"], hostile);
}
