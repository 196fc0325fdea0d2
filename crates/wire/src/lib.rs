//! Every message that passes between the processes of mod_wsgi.
//!
//! Linked into all of them: the Apache module, the supervisor and the Python runtime. Holds plain
//! values and pure functions on slices, no I/O and no unsafe code, so that each decoder can be
//! tested on every prefix of every message and fuzzed as it is.
//!
//! Conversations, of one frame format but for the last ([`frame`]):
//!
//! | between | messages | socket |
//! |---|---|---|
//! | Apache child and worker, one request each | [`request`], [`response`], [`hook`] | `SOCK_STREAM`, the group's |
//! | Apache parent and supervisor | [`control`] | `SOCK_SEQPACKET`, inherited |
//! | supervisor and worker | [`control`] | `SOCK_SEQPACKET`, inherited |
//! | supervisor and whoever may ask | [`status`] | `SOCK_STREAM`, one report and the end |
//!
//! Beside them, a worker shows what it does in memory it shares with the supervisor: [`scoreboard`].
//!
//! A peer is never trusted to be well: a decoder returns [`Malformed`] for whatever it does not
//! understand, keeps within the bounds stated beside each message, and never panics.

#![forbid(unsafe_code)]

pub mod codec;
pub mod control;
pub mod frame;
pub mod group;
pub mod hook;
pub mod keys;
pub mod log_id;
pub mod log_line;
pub mod request;
pub mod response;
pub mod scoreboard;
pub mod status;

pub use codec::Malformed;
