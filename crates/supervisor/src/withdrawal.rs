//! Detects whether the module is still part of Apache.
//!
//! Runs in: the supervisor, after Apache's parent has destroyed a configuration and before the next
//! one arrives. If the module is not loaded again, no code of it runs in the parent to report that.
//! But the parent starts children only after it has read its configuration and run every module's
//! hooks. So if the parent has started a child since, and does not map the module's file, it runs
//! without the module. Before [`LIMIT`] passes, the supervisor never concludes this from time
//! alone, however slow the reading is.

use std::time::Duration;

use os::process;
use wire::control::Withdrawn;

/// When, and how often, to examine the parent after the withdrawal. Most configurations arrive
/// before the first examination.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time limit for the next configuration if the parent cannot be examined. A configuration that
/// arrives later finds no supervisor and starts another.
const LIMIT: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub struct Withdrawal {
    parent: u32,
    what: Withdrawn,
    next_look: Duration,
    until: Duration,
}

impl Withdrawal {
    pub fn new(what: Withdrawn, now: Duration) -> Self {
        Self {
            parent: process::parent_id(),
            what,
            next_look: now + INTERVAL,
            until: now + LIMIT,
        }
    }

    /// When [`Withdrawal::verdict`] is due.
    pub fn next_look(&self) -> Duration {
        self.next_look
    }

    /// Examines the parent if that is due. Returns why the module counts as unloaded.
    pub fn verdict(&mut self, now: Duration) -> Option<&'static str> {
        if now < self.next_look {
            return None;
        }
        self.next_look = now + INTERVAL;
        if now >= self.until {
            return Some("Apache has not read a configuration with the module for 10 minutes");
        }
        let serves = self.has_new_child() && !self.has_module();
        serves.then_some("Apache serves a configuration without the module")
    }

    /// Whether the parent has started a child since. A child is a copy of the parent; a log
    /// program, for example, is not. A child from the same clock tick may have been started just
    /// before.
    fn has_new_child(&self) -> bool {
        let since = Duration::from_millis(self.what.at).saturating_sub(process::tick());
        let Some(program) = process::program(self.parent) else {
            return false;
        };
        let children = process::children(self.parent).into_iter();
        let mut new = children.filter(|(_, started)| *started > since);
        new.any(|(pid, _)| process::program(pid).as_ref() == Some(&program))
    }

    /// Children older than the module's own start, such as mod_cgid's, exist while the module is
    /// reloaded.
    fn has_module(&self) -> bool {
        process::has_mapped(self.parent, &self.what.module.0) == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_evidence_the_module_is_gone_only_after_the_limit() {
        let what = Withdrawn {
            at: u64::try_from(os::clock::since_boot().as_millis()).unwrap() + 3_600_000,
            module: "/usr/lib/apache2/modules/mod_wsgi.so".into(),
        };
        let start = Duration::from_secs(5);
        let mut withdrawal = Withdrawal::new(what, start);
        assert_eq!(withdrawal.verdict(start), None);
        assert_eq!(withdrawal.verdict(start + INTERVAL), None);
        assert_eq!(withdrawal.next_look(), start + 2 * INTERVAL);
        assert_eq!(withdrawal.verdict(start + LIMIT - INTERVAL), None);
        assert!(withdrawal.verdict(start + LIMIT).is_some());
    }
}
