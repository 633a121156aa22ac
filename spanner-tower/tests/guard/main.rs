//! The guard as its users see it: requests in, replies and records out.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail loudly"
)]

mod axum;
mod build;
mod carriers;
mod front_door;
mod lasting;
mod observed;
mod records;
mod resource;
mod rows;
mod shown;
mod support;
mod talks;
mod tonic;
