//! Connections from an Apache child to the workers of a process group.
//!
//! Runs in: an Apache child, on the thread that serves the request.

pub mod connection_pool;
pub mod dialer;
