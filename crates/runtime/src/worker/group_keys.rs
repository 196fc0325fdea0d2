//! The keys by which requests show that they are meant for this process group.
//!
//! Read by request threads, replaced by the main thread: a configuration that is read while the
//! worker runs has a new key, and until successors are ready this worker serves requests that carry
//! it. The first such request may arrive before the supervisor's message, so a key that is not
//! known is waited for briefly.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use wire::control::WorkerSetup;

/// How long the supervisor's message may come after the first request with a new key.
const LATE: Duration = Duration::from_millis(200);

/// The current key, and those that Apache children from before a restart still use.
pub struct GroupKeys {
    known: Mutex<Vec<[u8; 16]>>,
    replaced: Condvar,
}

impl GroupKeys {
    pub fn of(setup: &WorkerSetup) -> Self {
        Self {
            known: Mutex::new(all(setup)),
            replaced: Condvar::new(),
        }
    }

    /// Takes over the keys of a newer configuration.
    pub fn replace(&self, setup: &WorkerSetup) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = all(setup);
        self.replaced.notify_all();
    }

    /// Whether it is one of them.
    pub fn contain(&self, secret: &[u8; 16]) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let late = self
            .replaced
            .wait_timeout_while(known, LATE, |known| !holds(known, secret));
        let (known, _) = late.unwrap_or_else(PoisonError::into_inner);
        holds(&known, secret)
    }
}

/// Compares all of them, even if an early one matches.
fn holds(known: &[[u8; 16]], secret: &[u8; 16]) -> bool {
    known
        .iter()
        .fold(false, |found, one| found | os::random::equal(one, secret))
}

fn all(setup: &WorkerSetup) -> Vec<[u8; 16]> {
    let mut all = vec![setup.key];
    all.extend(&setup.earlier_keys);
    all
}
