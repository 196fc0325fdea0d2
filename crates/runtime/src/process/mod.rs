//! What belongs to the whole worker process, whichever interpreter or request uses it.
//!
//! Runs in: worker processes, on every thread. It imports no other floor of this crate.

#![forbid(unsafe_code)]

pub mod fork;
pub mod process_log;
pub mod request_metrics;
pub mod scoreboard;
pub mod termination;
