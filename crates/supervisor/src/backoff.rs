//! The back-off: how long to wait before a failed start is tried again.
//!
//! Runs in: the supervisor.

use std::time::Duration;

/// Wait after the first failure; doubles with each further one.
const FIRST: Duration = Duration::from_millis(100);
/// Longest wait.
const LONGEST: Duration = Duration::from_secs(5);
/// A failure this long after the attempt was due counts as a first one again.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Counts consecutive failures and spaces the attempts. All times are of the monotonic clock.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
    not_before: Duration,
}

impl Backoff {
    /// Records a failure. Further failures before the next attempt is due belong to the same
    /// attempt and count as one.
    pub fn failed(&mut self, now: Duration) {
        if now < self.not_before {
            return;
        }
        if now - self.not_before > FORGOTTEN {
            self.failures = 0;
        }
        let wait = FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + wait;
    }

    /// Resets the back-off: the next attempt may come at once, and the next failure is a first one.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Consecutive failures.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the next attempt may be made.
    pub fn may_try(&self, now: Duration) -> bool {
        now >= self.not_before
    }

    /// When the next attempt is due, if that is in the future.
    pub fn next(&self, now: Duration) -> Option<Duration> {
        (now < self.not_before).then_some(self.not_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_seconds() {
        let mut backoff = Backoff::default();
        let mut now = Duration::from_secs(1);
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert!(backoff.may_try(now));
            backoff.failed(now);
            backoff.failed(now);
            let next = backoff.next(now).unwrap();
            waits.push((next - now).as_millis());
            assert!(!backoff.may_try(next - Duration::from_nanos(1)));
            now = next;
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        backoff.reset();
        assert!(backoff.may_try(now) && backoff.failures() == 0);
    }

    #[test]
    fn failures_of_long_ago_do_not_count() {
        let mut backoff = Backoff::default();
        for now in [100, 200, 201] {
            backoff.failed(Duration::from_secs(now));
        }
        assert_eq!(backoff.failures(), 2);
    }
}
