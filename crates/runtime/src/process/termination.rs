//! Whether SIGTERM has reached Python, in a service process.
//!
//! Noted by Python's handler of the signal, on the main thread; read by the thread that sends it.

use std::sync::{Mutex, MutexGuard, PoisonError};

static REACHED: Mutex<bool> = Mutex::new(false);

/// Called by Python's handler of SIGTERM.
pub fn note_sigterm() {
    *reached() = true;
}

/// Whether it has come. Locked while the signal is sent, so that none is sent once the handler has
/// run: Python removes the handler when it ends, and the next signal would kill the process.
pub fn reached() -> MutexGuard<'static, bool> {
    REACHED.lock().unwrap_or_else(PoisonError::into_inner)
}
