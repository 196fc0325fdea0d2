//! Whether the GIL can be had.
//!
//! Runs in: a thread of its own, which takes the GIL of the main interpreter, which all
//! interpreters share, again and again. The main thread looks at how long it has been trying, and
//! so never waits for the GIL itself.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use os::clock;

use crate::process::scoreboard;
use crate::python::interpreter::ThreadState;
use crate::wsgi::state::Interpreter;

/// Between two attempts. With the time for a second look it stays below a second.
const PAUSE: Duration = Duration::from_millis(700);

/// Since when the thread has been trying, for the main thread.
#[derive(Clone, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// Starts the thread.
    pub fn start(interpreter: &'static Interpreter) -> io::Result<Self> {
        let shown = Self::default();
        let trying = Arc::clone(&shown.0);
        std::thread::Builder::new()
            .name("wsgi-heartbeat".to_owned())
            .spawn(move || {
                let Some(mut thread_state) = ThreadState::new(interpreter) else {
                    return;
                };
                loop {
                    trying.store(clock::monotonic_us().max(1), Ordering::SeqCst);
                    thread_state.attach(|_gil| {});
                    trying.store(0, Ordering::SeqCst);
                    scoreboard::beat();
                    std::thread::sleep(PAUSE);
                }
            })?;
        Ok(shown)
    }

    /// Since when the GIL could not be had, in microseconds of the monotonic clock.
    pub fn waiting_since(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst)).filter(|&since| since != 0)
    }
}
