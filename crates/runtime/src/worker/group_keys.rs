//! The secrets by which requests show that they are meant for this group.
//!
//! Read by request threads, replaced by the main thread: a configuration that comes while the
//! worker runs brings a new secret, and until successors are ready this worker serves requests
//! that carry it. The first of them may be quicker than the news, so a secret that is not known is
//! waited for a little.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use wire::control::WorkerSetup;

/// How long news of a secret may come after the first request that carries it.
const LATE: Duration = Duration::from_millis(200);

/// The current secret and those that Apache children of before a restart still use.
pub struct Secrets {
    known: Mutex<Vec<[u8; 16]>>,
    replaced: Condvar,
}

impl Secrets {
    pub fn of(setup: &WorkerSetup) -> Self {
        Self {
            known: Mutex::new(all(setup)),
            replaced: Condvar::new(),
        }
    }

    /// Takes over those of a newer configuration.
    pub fn replace(&self, setup: &WorkerSetup) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = all(setup);
        self.replaced.notify_all();
    }

    /// Whether it is one of them.
    pub fn know(&self, secret: &[u8; 16]) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let late = self
            .replaced
            .wait_timeout_while(known, LATE, |known| !holds(known, secret));
        let (known, _) = late.unwrap_or_else(PoisonError::into_inner);
        holds(&known, secret)
    }
}

/// All are compared, however early one fits.
fn holds(known: &[[u8; 16]], secret: &[u8; 16]) -> bool {
    known
        .iter()
        .fold(false, |found, one| found | os::random::equal(one, secret))
}

fn all(setup: &WorkerSetup) -> Vec<[u8; 16]> {
    let mut all = vec![setup.group.key];
    all.extend(&setup.earlier_keys);
    all
}
