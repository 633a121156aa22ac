//! An identity-aware proxy for model servers, from one TOML file.
//!
//! It puts a guard ([`spanner_tower::GuardLayer`]) before each model server of a
//! [configuration](config), and adds what a proxy needs: routing to the server, connections, limits,
//! probes, metrics, reloading and a graceful shutdown. The guard alone decides; nothing here
//! evaluates a policy or a token.
//!
//! ```text
//! accept ─▶ server ─▶ dispatch ─▶ guard ─▶ upstream ─▶ the model's server
//!           limits    routing     decision  headers, pools, timeouts
//! ```

mod addresses;
mod admission;
mod checkpoints;
mod client_stream;
pub mod config;
mod connections;
mod dispatch;
mod draining_body;
mod failure;
mod frame_budget;
mod headers;
mod health;
mod http2;
mod key_reload;
mod load;
mod message_budget;
mod meters;
mod metric;
mod observed_stream;
mod open_files;
pub mod paths;
mod rejection;
mod reload;
mod resolve;
mod server;
mod service;
mod ship;
mod signals;
mod slot_pool;
mod startup_files;
mod surfaces;
mod target_filter;
mod upstream;
mod upstream_body;
mod upstream_lease;
mod upstream_pool;
mod upstream_queue;
mod websocket;

pub use load::Loaded;
pub use metric::{METRICS, Metric, MetricKind};
pub use service::{Service, ServiceError, serve};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
