//! Every message that passes between the processes of mod_wsgi.
//!
//! The Apache module, the supervisor and the Python runtime all link this crate. It has plain
//! values and pure functions on slices, no I/O and no unsafe code, so tests can run each decoder on
//! every prefix of every message, and fuzzers can call it directly.
//!
//! The conversations. All but the last use the same frame format ([`frame`]):
//!
//! | between | messages | socket |
//! |---|---|---|
//! | Apache child and worker, one request each | [`request`], [`response`], [`hook`] | `SOCK_STREAM`, the group's |
//! | Apache parent and supervisor | [`control`] | `SOCK_SEQPACKET`, inherited |
//! | supervisor and worker | [`control`] | `SOCK_SEQPACKET`, inherited |
//! | supervisor and any client that may ask | [`status`] | `SOCK_STREAM`, one report until end of file |
//!
//! Besides, a worker publishes what its threads do in memory that it shares with the supervisor:
//! [`scoreboard`].
//!
//! No decoder trusts the peer: it returns [`Malformed`] for everything that it does not understand,
//! keeps within the bounds stated beside each message, and never panics.

#![forbid(unsafe_code)]

pub mod codec;
pub mod control;
pub mod frame;
pub mod group;
pub mod hook;
pub mod keys;
pub mod log_id;
pub mod log_line;
pub mod own_group;
pub mod request;
pub mod response;
pub mod scoreboard;
pub mod status;

pub use codec::Malformed;
