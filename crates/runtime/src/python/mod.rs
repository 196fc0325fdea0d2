//! The door to Python: the only unsafe code of this crate.
//!
//! Runs in: worker processes, on every thread that holds a seat in an interpreter.
//!
//! Only `pyo3::ffi` is used, and nothing of what PyO3 keeps in process-global statics: one process
//! holds several interpreters, and an object of one must never be seen in another. What an
//! interpreter owns stands in its [`crate::wsgi::state::State`]; a thread enters it through its own
//! [`interpreter::Seat`]; a [`object::Gil`] is the proof of being inside.

pub mod gil_wait;
pub mod interpreter;
pub mod module;
pub mod object;
pub mod threads;
pub mod types;
