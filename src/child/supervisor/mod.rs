//! Queries to the supervisor, over its status socket.
//!
//! Runs in: an Apache child, on the thread that serves the request. Nothing here is needed to
//! answer a request: it serves the status pages and explains in the log how a worker died.

#[cfg(test)]
pub mod sample_report;
pub mod status_query;
pub mod worker_death;
