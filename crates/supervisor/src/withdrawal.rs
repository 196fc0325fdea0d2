//! Whether the module is still part of Apache.
//!
//! Runs in: the supervisor, between the moment in which Apache's parent throws a configuration away
//! and the next one. A module that is not loaded again has no code in the parent that could say so.
//! But the parent starts children only when its configuration is read to the end and every module in
//! it has been heard: one that has started a child since, and does not have the module's file mapped,
//! runs without it. However slow the reading is, nothing is concluded from time alone before
//! [`LIMIT`].

use std::time::Duration;

use os::process;
use wire::control::Withdrawn;

/// How long after the withdrawal, and how often, the parent is looked at: most configurations are
/// there before the first look.
const INTERVAL: Duration = Duration::from_secs(1);
/// Where nothing can be seen of the parent, the next configuration is waited for so long. If it comes
/// even later, it finds no supervisor and starts another.
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

    /// When [`Withdrawal::verdict`] may have something to say.
    pub fn next_look(&self) -> Duration {
        self.next_look
    }

    /// Looks at the parent, if it is time to. The answer is why the module is taken to be gone.
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

    /// Whether the parent has started a child since: a copy of itself, which a program that writes
    /// its log, say, is not. One of the same tick may have been started just before.
    fn has_new_child(&self) -> bool {
        let since = Duration::from_millis(self.what.at).saturating_sub(process::tick());
        let Some(program) = process::program(self.parent) else {
            return false;
        };
        let children = process::children(self.parent).into_iter();
        let mut new = children.filter(|(_, started)| *started > since);
        new.any(|(pid, _)| process::program(pid).as_ref() == Some(&program))
    }

    /// Children that are older than the module's own start, such as mod_cgid's, are there while it is
    /// loaded again.
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
