//! An identity-aware proxy for model servers, from one TOML file.
//!
//! It puts a guard ([`spanner_tower::GuardLayer`]) before each model server of a
//! [configuration](config), and adds what a process in front of others needs: choosing the
//! server, connections, limits, probes, metrics, reloading, an orderly end. Who may do what
//! is decided in the guard; nothing here knows of a policy or a token.
//!
//! ```text
//! accept ─▶ server ─▶ dispatch ─▶ guard ─▶ upstream ─▶ the model's server
//!           limits    which one   may they  headers, pools, time
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
mod load;
mod message_budget;
mod meters;
mod observed_stream;
mod open_files;
mod rejection;
mod reload;
mod resolve;
mod restart;
mod server;
mod service;
mod ship;
mod signals;
mod slot_pool;
mod surfaces;
mod target_filter;
mod trust;
mod upstream;
mod upstream_body;
mod upstream_lease;
mod upstream_pool;
mod upstream_queue;
mod websocket;
pub mod words;

pub use load::{Loaded, file_of, no_directory};
pub use service::{Service, ServiceError, serve};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
