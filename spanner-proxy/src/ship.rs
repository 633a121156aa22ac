//! Sends entries of the ledger elsewhere, beside everything else: no request waits for it.

use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use metrics::gauge;
use serde_json::{Value, json};
use spanner_ship::{
    Endpoint, FileReceiver, Format, HttpReceiver, RunningShipment, Shipment, ShipmentStatus,
    StatusHandle, StdoutReceiver,
};

use crate::config::{Credential, Destination, ShipConfig};
use spanner_admin::operate::Detail;

/// All that are under way.
#[derive(Debug, Default)]
pub(crate) struct Ships(Vec<(String, RunningShipment)>);

/// Sees where they stand. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watches(Vec<(String, StatusHandle)>);

impl Ships {
    /// Starts them; they read the ledger in a directory.
    pub(crate) fn start(ledger: &Path, configs: &[ShipConfig]) -> io::Result<Self> {
        let mut all = Vec::with_capacity(configs.len());
        for config in configs {
            let mut shipment = shipment(ledger, config).producer(config.producer.clone());
            if let Some(batch) = config.batch {
                shipment = shipment.batch(batch);
            }
            let started = shipment.start().map_err(|source| {
                io::Error::new(source.kind(), format!("`{}`: {source}", config.name))
            })?;
            all.push((config.name.clone(), started));
        }
        Ok(Self(all))
    }

    pub(crate) fn watches(&self) -> Watches {
        let watch =
            |(name, shipping): &(String, RunningShipment)| (name.clone(), shipping.handle());
        Watches(self.0.iter().map(watch).collect())
    }

    /// Sends what the closed ledger holds, as long as that goes well. Blocks.
    pub(crate) fn finish(self) {
        let ending: Vec<_> = self
            .0
            .into_iter()
            .map(|(name, shipping)| (name, std::thread::spawn(|| shipping.finish(FINISH))))
            .collect();
        for (name, ending) in ending {
            let Ok(ShipmentStatus {
                failing, delivered, ..
            }) = ending.join()
            else {
                continue;
            };
            match failing {
                None => tracing::info!(shipment = name, delivered, "all entries are sent"),
                Some(reason) => tracing::warn!(
                    shipment = name,
                    reason,
                    "not all entries are sent; the next start goes on"
                ),
            }
        }
    }
}

fn shipment(ledger: &Path, config: &ShipConfig) -> Shipment {
    let (name, format) = (config.name.clone(), config.format);
    match &config.destination {
        Destination::File(path) => Shipment::new(ledger, name, format, FileReceiver::new(path)),
        Destination::Stdout => Shipment::new(ledger, name, format, StdoutReceiver::new()),
        Destination::Syslog(receiver) => Shipment::new(ledger, name, format, receiver.clone()),
        Destination::Http { url, credential } => {
            let endpoint = endpoint(url, credential.as_ref());
            let receiver = match format {
                Format::Otlp => HttpReceiver::otlp(endpoint),
                _ => HttpReceiver::lines(endpoint),
            };
            Shipment::new(ledger, name, format, receiver)
        }
    }
}

/// A server, with the credential as it is at each request.
pub(crate) fn endpoint(url: &str, credential: Option<&Credential>) -> Endpoint {
    match credential.cloned() {
        Some(credential) => Endpoint::new(url).authorization_from(move || credential.header()),
        None => Endpoint::new(url),
    }
}

impl Watches {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What readiness says of each. None makes the service unready: what is not sent yet is
    /// in the ledger all the same.
    pub(crate) fn readiness(&self, detail: Detail) -> Value {
        let now = Timestamp::now();
        let says = |(name, watch): &(String, StatusHandle)| {
            let status = watch.status();
            let state = match status.failing {
                Some(_) => "failing",
                None => "shipping",
            };
            let mut page = json!({
                "state": state,
                "lag_s": status.lag(now).as_secs(),
                "undelivered": status.undelivered,
                "delivered": status.delivered,
                "set_aside": status.set_aside,
                "lost": status.lost,
            });
            if let (Detail::Full, Some(members)) = (detail, page.as_object_mut()) {
                members.insert("name".to_owned(), name.as_str().into());
            }
            page
        };
        self.0.iter().map(says).collect()
    }

    /// Puts where they stand among the metrics.
    pub(crate) fn publish(&self) {
        let now = Timestamp::now();
        for (name, watch) in &self.0 {
            let status = watch.status();
            let put = |metric: &'static str, value: f64| {
                gauge!(metric, "shipment" => name.clone()).set(value);
            };
            put("spanner_ship_lag_seconds", status.lag(now).as_secs_f64());
            put("spanner_ship_undelivered", status.undelivered as f64);
            put("spanner_ship_delivered", status.delivered as f64);
            put("spanner_ship_set_aside", status.set_aside as f64);
            put("spanner_ship_lost", status.lost as f64);
            let failing = f64::from(u8::from(status.failing.is_some()));
            put("spanner_ship_failing", failing);
        }
    }
}

/// What a receiver may take for the last entries when the service stops.
const FINISH: Duration = Duration::from_secs(5);
