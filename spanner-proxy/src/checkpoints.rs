//! Ships the ledger's checkpoints, and publishes as metrics whether they arrive.

use std::fmt;
use std::io;

use metrics::gauge;
use spanner_ledger::{Builder, Checkpoint, CheckpointFile, CheckpointSink, CheckpointStdout};
use spanner_ship::CheckpointHttp;

use crate::config::{Checkpoints, SendMethod};
use crate::service::ServiceError;
use crate::ship::endpoint;

/// Adds the configured sinks of checkpoints to a ledger.
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

/// A sink whose state is published as metrics.
struct MonitoredSink<S> {
    place: String,
    sink: S,
}

/// The text that the ledger logs when the sink fails.
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

    /// Publishes whether the newest checkpoint has not arrived. It has not while it is being sent.
    fn publish_unshipped(&self, unshipped: bool) {
        gauge!("spanner_checkpoint_unshipped", "place" => self.place.clone())
            .set(f64::from(u8::from(unshipped)));
    }
}

impl<S: CheckpointSink> CheckpointSink for MonitoredSink<S> {
    fn ship(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.publish_unshipped(true);
        self.sink.ship(checkpoint)?;
        self.publish_unshipped(false);
        gauge!("spanner_checkpoint_entries", "place" => self.place.clone())
            .set(checkpoint.size() as f64);
        Ok(())
    }

    fn newest(&mut self) -> io::Result<Option<String>> {
        self.sink.newest()
    }
}
