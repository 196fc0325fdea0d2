//! The files of the runtime that are modelled, as they are: `--cfg loom` has them use loom's locks.

#[path = "../../../crates/runtime/src/worker/idle_threads.rs"]
pub mod idle_threads;
