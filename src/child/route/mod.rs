//! Where a request goes: the script its URL maps to, the checks it must pass, its process group.
//!
//! Runs in: an Apache child, before anything is sent to a worker.

pub mod checks;
pub mod dispatch;
pub mod mapping;
pub mod rejection;
