//! The scripts that a group's workers received requests for. Successors load them before they are
//! ready, so that no request waits for an import.
//!
//! Runs in: the supervisor. A worker wrote the entries. They are sent only to workers of the same
//! group, which run as the same user, and the supervisor does not interpret them.

use std::time::Duration;

use wire::codec::Bytes;
use wire::control::MAX_LOADED_SCRIPTS;

/// Maximum length of a path or name, in bytes.
const MAX_TEXT: usize = 4096;
/// Maximum number of bytes of all entries, so that they fit into a message together with the group.
const MAX_BYTES: usize = 24 * 1024;
/// A generation of this age has received a request for every script in use.
const LONG_LIFE: Duration = Duration::from_secs(3600);

/// A script and the application group it runs in.
type Script = (Bytes, Bytes);

/// The scripts, in the order of their first report: the first application group gets the main
/// interpreter, in successors as in predecessors.
#[derive(Debug, Default)]
pub struct LoadedScripts {
    /// Each with the time of its last report.
    entries: Vec<(Script, Duration)>,
    /// When the generation began.
    since: Duration,
}

impl LoadedScripts {
    /// A worker received a request for it.
    pub fn note(&mut self, script: Script, now: Duration) {
        if let Some((_, told)) = self.entries.iter_mut().find(|(known, _)| *known == script) {
            *told = now;
            return;
        }
        let size = |(path, group): &Script| path.len() + group.len() + 8;
        let used: usize = self.entries.iter().map(|(known, _)| size(known)).sum();
        let fits = self.entries.len() < MAX_LOADED_SCRIPTS && used + size(&script) <= MAX_BYTES;
        if fits && script.0.len().max(script.1.len()) <= MAX_TEXT {
            self.entries.push((script, now));
        }
    }

    /// The same for a script in a worker's main interpreter whose application group a client could
    /// name. Only the group that got the main interpreter first is remembered: others would be
    /// sub-interpreters of the successors, as many as clients like.
    pub fn note_client_named(&mut self, script: Script, now: Duration) {
        if self
            .entries
            .first()
            .is_none_or(|((_, first), _)| *first == script.1)
        {
            self.note(script, now);
        }
    }

    /// Begins a new generation. Scripts that a long-lived generation never received requests for
    /// are removed.
    pub fn renew(&mut self, now: Duration) {
        let since = self.since;
        if now.saturating_sub(since) >= LONG_LIFE {
            self.entries.retain(|(_, told)| *told >= since);
        }
        self.since = now;
    }

    /// Forgets all entries: the next workers are unrelated to the workers that reported them.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    pub fn scripts(&self) -> Vec<Script> {
        self.entries
            .iter()
            .map(|(known, _)| known.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(name: &str) -> Script {
        (name.into(), "".into())
    }

    #[test]
    fn it_keeps_order_and_bounds() {
        let mut known = LoadedScripts::default();
        for name in ["b", "a", "b"] {
            known.note(script(name), Duration::ZERO);
        }
        assert_eq!(known.scripts(), [script("b"), script("a")]);
        known.note(script(&"x".repeat(MAX_TEXT + 1)), Duration::ZERO);
        assert_eq!(known.scripts().len(), 2);
        for number in 0..200 {
            known.note(script(&format!("{number}")), Duration::ZERO);
        }
        assert_eq!(known.scripts().len(), MAX_LOADED_SCRIPTS);
        known.clear();
        for number in 0..20 {
            known.note(script(&format!("{number:04000}")), Duration::ZERO);
        }
        assert_eq!(known.scripts().len(), 6);
    }

    #[test]
    fn of_names_that_clients_choose_only_that_of_the_main_interpreter_is_kept() {
        let of_group = |name: &str, group: &str| (name.into(), group.into());
        let mut known = LoadedScripts::default();
        known.note_client_named(of_group("a", "shop:81"), Duration::ZERO);
        known.note_client_named(of_group("a", "shop:82"), Duration::ZERO);
        known.note_client_named(of_group("b", "shop:81"), Duration::ZERO);
        known.note(of_group("a", "shop"), Duration::ZERO);
        assert_eq!(
            known.scripts(),
            [
                of_group("a", "shop:81"),
                of_group("b", "shop:81"),
                of_group("a", "shop")
            ]
        );
        let mut known = LoadedScripts::default();
        known.note(of_group("a", "shop"), Duration::ZERO);
        known.note_client_named(of_group("a", "shop:81"), Duration::ZERO);
        assert_eq!(known.scripts(), [of_group("a", "shop")]);
    }

    #[test]
    fn what_a_long_generation_was_never_asked_for_is_forgotten() {
        let mut known = LoadedScripts::default();
        let at = Duration::from_secs;
        known.note(script("old"), at(1));
        known.renew(at(10));
        known.renew(at(20));
        known.note(script("new"), at(30));
        assert_eq!(known.scripts().len(), 2);
        known.renew(at(4000));
        assert_eq!(known.scripts(), [script("new")]);
    }
}
