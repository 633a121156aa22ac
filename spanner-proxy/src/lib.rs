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
mod answered;
mod checkpoints;
mod client;
pub mod config;
mod connections;
mod crowd;
mod dispatch;
mod failure;
mod files;
mod flood;
mod headers;
mod health;
mod held;
mod inbox;
mod load;
mod meters;
mod patience;
mod places;
mod rejection;
mod reload;
mod resolve;
mod restart;
mod server;
mod service;
mod ship;
mod signals;
mod surfaces;
mod talk;
mod targets;
mod trust;
mod turn;
mod unread;
mod upstream;
pub mod words;

pub use load::{Loaded, file_of, no_directory};
pub use service::{Service, ServiceError, serve};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
