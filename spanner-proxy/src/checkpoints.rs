//! Has the ledger ship its checkpoints, and shows whether they arrive.

use std::fmt;
use std::io;

use metrics::gauge;
use spanner_ledger::{Builder, Checkpoint, CheckpointFile, CheckpointSink, CheckpointStdout};
use spanner_ship::CheckpointHttp;

use crate::config::{Checkpoints, SendMethod};
use crate::service::ServiceError;
use crate::ship::endpoint;

/// Gives a ledger all places that its checkpoints shall go to.
pub(crate) fn shipping(builder: Builder, wanted: &[Checkpoints]) -> Result<Builder, ServiceError> {
    wanted.iter().try_fold(builder, |builder, place| {
        Ok(match place {
            Checkpoints::Stdout => {
                builder.checkpoints(MonitoredSink::new("-", CheckpointStdout::new()))
            }
            Checkpoints::File(file) => {
                let sink = CheckpointFile::append(file);
                let sink = sink.map_err(|source| ServiceError::Checkpoints {
                    file: file.clone(),
                    source,
                })?;
                builder.checkpoints(MonitoredSink::new(&file.display().to_string(), sink))
            }
            Checkpoints::Http {
                url,
                method,
                credential,
                required,
            } => {
                let endpoint = endpoint(url, credential.as_ref());
                let mut sink = match method {
                    SendMethod::Post => CheckpointHttp::post(endpoint),
                    SendMethod::Put => CheckpointHttp::put(endpoint),
                };
                if *required {
                    sink = sink.required();
                }
                // A query may hold a secret.
                let place = url.split('?').next().unwrap_or_default();
                builder.checkpoints(MonitoredSink::new(place, sink))
            }
        })
    })
}

/// A sink whose state stands among the metrics.
struct MonitoredSink<S> {
    place: String,
    sink: S,
}

/// What is said of it where it fails.
impl<S> fmt::Debug for MonitoredSink<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl<S> MonitoredSink<S> {
    fn new(place: &str, sink: S) -> Self {
        let place = place.to_owned();
        Self { place, sink }
    }

    /// Whether the newest checkpoint is not there: also while that is being tried.
    fn owes(&self, owes: bool) {
        gauge!("spanner_checkpoint_unshipped", "place" => self.place.clone())
            .set(f64::from(u8::from(owes)));
    }
}

impl<S: CheckpointSink> CheckpointSink for MonitoredSink<S> {
    fn ship(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.owes(true);
        self.sink.ship(checkpoint)?;
        self.owes(false);
        gauge!("spanner_checkpoint_entries", "place" => self.place.clone())
            .set(checkpoint.size() as f64);
        Ok(())
    }

    fn newest(&mut self) -> io::Result<Option<String>> {
        self.sink.newest()
    }
}
