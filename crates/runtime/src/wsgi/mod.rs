//! One request, seen from the side of the application, without any Python in it.
//!
//! Runs in: the worker, on its request threads; the embedded mode of an Apache child uses the same
//! code over another [`outlet::Outlet`]. What may be said to the server, in which order and how
//! much of it, is decided here, so that it can be tested without an interpreter.

#![forbid(unsafe_code)]

pub mod body;
pub mod exchange;
pub mod head;
pub mod lines;
pub mod outlet;
pub mod output;
