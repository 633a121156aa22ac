//! Checkpoints over HTTP, to a witness that stores them, one that is down, and one that lies.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use spanner_ledger::{Checkpoint, Ledger, OpenError};
use spanner_ship::{CheckpointHttp, Endpoint};

use super::http::serve_each;
use super::{PATIENCE, block_on};

/// A ledger's directory, and the notes that its witness received.
struct Stage {
    folder: tempfile::TempDir,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    fn set() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            taken: Arc::default(),
        }
    }

    fn open(&self, witness: CheckpointHttp) -> Result<Ledger, OpenError> {
        let ledger = Ledger::builder(self.folder.path().join("ledger"));
        ledger.checkpoints(witness).open()
    }

    /// Opens a ledger with a witness, records an event and closes it.
    fn run(&self, witness: CheckpointHttp) {
        let ledger = self.open(witness).unwrap();
        let event = ledger.event("test.happened", json!({})).unwrap();
        assert_eq!(block_on(event), Ok(()));
        ledger.close().unwrap();
    }

    /// Starts a witness that stores all notes and returns the newest.
    fn witness(&self) -> String {
        let taken = Arc::clone(&self.taken);
        let (url, _) = serve_each(move |request| {
            let mut taken = taken.lock().unwrap();
            if request.head.starts_with("get ") {
                let newest = taken.last().map(|note| note.clone().into_bytes());
                return newest.map_or(Some((404, vec![])), |note| Some((200, note)));
            }
            assert!(
                request
                    .head
                    .contains("content-type: text/plain; charset=utf-8\r\n")
            );
            assert!(request.head.contains("authorization: bearer secret\r\n"));
            taken.push(String::from_utf8(request.body.clone()).unwrap());
            Some((204, vec![]))
        });
        url
    }

    fn sizes(&self) -> Vec<u64> {
        let reader = Ledger::read(self.folder.path().join("ledger")).unwrap();
        let keys = reader.keys().unwrap();
        let size = |note: &String| Checkpoint::verify(note, &keys).unwrap().size();
        self.taken.lock().unwrap().iter().map(size).collect()
    }
}

fn post(url: &str) -> CheckpointHttp {
    CheckpointHttp::post(Endpoint::new(url).authorization("Bearer secret".parse().unwrap()))
}

#[test]
fn the_newest_note_covers_every_entry_once_the_ledger_is_closed() {
    let stage = Stage::set();
    let url = stage.witness();
    assert!(!format!("{:?}", post(&format!("{url}?key=secret"))).contains("secret"));
    stage.run(post(&url));
    // Opened, one event, closed.
    assert_eq!(stage.sizes().last(), Some(&3));
    stage.run(post(&url).required());
    assert_eq!(stage.sizes().last(), Some(&6));
    assert!(stage.sizes().is_sorted());
}

#[test]
fn sends_checkpoints_by_put() {
    let stage = Stage::set();
    let (url, requests) = serve_each(|request| {
        let asks = request.head.starts_with("get ");
        Some((if asks { 404 } else { 201 }, vec![]))
    });
    stage.run(CheckpointHttp::put(url));
    let mut methods = requests.try_iter().map(|it| it.head);
    assert!(methods.next().unwrap().starts_with("get /in "));
    assert!(methods.all(|head| head.starts_with("put /in ")));
}

#[test]
fn refuses_to_open_a_ledger_that_contradicts_the_witness() {
    let stage = Stage::set();
    let url = stage.witness();
    stage.run(post(&url));
    // A ledger with another key, and a shorter copy of the same one.
    let stranger = Stage::set();
    assert!(matches!(
        stranger.open(post(&url)),
        Err(OpenError::Damaged { .. })
    ));
    let ledger = stage.folder.path().join("ledger");
    let copy = stage.folder.path().join("copy");
    copy_folder(&ledger, &copy);
    stage.run(post(&url));
    std::fs::remove_dir_all(&ledger).unwrap();
    std::fs::rename(&copy, &ledger).unwrap();
    let opened = stage.open(post(&url));
    assert!(
        matches!(opened, Err(OpenError::Damaged { .. })),
        "{opened:?}"
    );
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir(to).unwrap();
    std::fs::set_permissions(to, PermissionsExt::from_mode(0o700)).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_folder(&path, &to),
            false => drop(std::fs::copy(&path, &to).unwrap()),
        }
    }
}

#[test]
fn an_unavailable_witness_prevents_opening_only_if_required() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut urls = vec![format!("http://{}/in", gone.local_addr().unwrap())];
    drop(gone);
    let answers: [Option<(u16, Vec<u8>)>; 6] = [
        None,
        Some((302, vec![])),
        Some((503, vec![])),
        Some((200, b"<html>sign in</html>".to_vec())),
        Some((200, vec![0xff; 10])),
        // Larger than any note, and rejected before it is in memory.
        Some((200, vec![b'x'; 1 << 20])),
    ];
    urls.extend(answers.map(|answer| serve_each(move |_| answer.clone()).0));
    for url in urls {
        let stage = Stage::set();
        let strict = stage.open(CheckpointHttp::post(&url).required());
        let Err(OpenError::Io { source, .. }) = strict else {
            panic!("{url}: {strict:?}");
        };
        assert!(source.to_string().contains(&url), "{source}");
        stage.run(CheckpointHttp::post(&url));
        let entries = Ledger::read(stage.folder.path().join("ledger")).unwrap();
        assert_eq!(entries.verify().signed, Some(3), "{url}");
    }
}

#[test]
fn a_hanging_witness_delays_only_its_own_checkpoints() {
    let stage = Stage::set();
    // Connections are not accepted, so a client waits.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let deaf = format!("http://{}/in", deaf.local_addr().unwrap());
    let url = stage.witness();
    let patience = Duration::from_millis(100);
    let builder = Ledger::builder(stage.folder.path().join("ledger"))
        .checkpoints(CheckpointHttp::post(Endpoint::new(&deaf).timeout(patience)))
        .checkpoints(post(&url));
    let ledger = builder.open().unwrap();
    let event = ledger.event("test.happened", json!({})).unwrap();
    assert_eq!(block_on(event), Ok(()));
    let size = ledger.checkpoint_now().unwrap().size();
    let until = std::time::Instant::now() + PATIENCE;
    while !stage.sizes().contains(&size) {
        assert!(std::time::Instant::now() < until, "the other has it");
        std::thread::yield_now();
    }
    ledger.close().unwrap();
    assert_eq!(stage.sizes().last(), Some(&3));
}
