//! Safe types over CPython's C API: the only unsafe code of this crate.
//!
//! Runs in: worker processes, on every thread that is attached to an interpreter.
//!
//! Only `pyo3::ffi` is used, and nothing of what PyO3 keeps in process-global statics: one process
//! holds several interpreters, and an object of one must never be seen in another. A thread attaches
//! to its interpreter through its own [`interpreter::ThreadState`]; a [`gil::Gil`] is the proof that
//! it is attached, and an [`object::Object`] lives no longer than that. What an interpreter keeps is
//! an [`object::Stored`]. The other floors call Python and are called by it through safe functions.

pub mod class;
pub mod function;
pub mod gil;
pub mod gil_wait;
pub mod interpreter;
pub mod module;
pub mod object;
pub mod threads;
pub mod trampoline;
