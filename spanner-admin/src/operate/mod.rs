//! Components that a service needs in addition to its guard: a monitored ledger, reloading of the
//! access configuration, and readiness probes.
//!
//! ```
//! use spanner_admin::Promotions;
//! use spanner_admin::operate::{AccessWatch, Detail, FileWatch, MonitoredLedger, Readiness};
//! use spanner_cedar::Cedar;
//! use spanner_ledger::Ledger;
//! # use spanner_tower::Bearer;
//! # async fn run(bearer: Bearer) -> Result<(), Box<dyn std::error::Error>> {
//! // Before the files are read, so that no change is missed.
//! let files = FileWatch::before_reading("access".as_ref());
//! let (access, ledger) = (Cedar::from_dir("access")?, Ledger::open("ledger")?);
//! let promotions = Promotions::open(access.clone(), ledger.clone()).await?;
//! let ledger = MonitoredLedger::new(ledger);      // give it to `GuardLayer::builder`
//!
//! tokio::spawn(AccessWatch::new(promotions.clone(), ledger.clone(), vec![files]).run());
//! let readiness = Readiness { bearer, access, promotions, ledger };
//! let report = readiness.report(None, Detail::Brief).await;
//! println!("{} {}", report.is_ready, serde_json::Value::Object(report.states));
//! # Ok(())
//! # }
//! ```

mod access;
mod files;
mod ledger;
mod readiness;

pub use access::{AccessWatch, Reloaded};
pub use files::{FileWatch, WATCH_INTERVAL};
pub use ledger::MonitoredLedger;
pub use readiness::{Detail, ListStatus, Readiness, ReadinessReport};
