//! What the module collects from all servers and directories while it reads the configuration.
//!
//! Runs in: the Apache parent. httpd cannot list the directory sections afterwards, and lists
//! virtual hosts in reverse order. So checks that need the whole configuration, or its order, use
//! the notes that setters make here. One value per reading: httpd reads its configuration twice at
//! start and again at every restart, so the owner makes a new one in `pre_config`.

use wire::log_id::LogId;

use super::daemon_process::DaemonProcess;
use super::expand::Template;
use super::module_config::Preload;
use super::place::Place;

/// The notes of one reading.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Every `WSGIDaemonProcess`, in the order of the file.
    pub groups: Vec<DaemonProcess>,
    /// Every script to be loaded at process start, in the order of the file.
    pub preloads: Vec<Preload>,
    /// Every directive that sends requests to a process group or an application group.
    pub routes: Vec<Route>,
    /// Every directive that has a script answer a hook of httpd, in the order of the file.
    pub hooks: Vec<Hook>,
    /// Every process group that a `WSGIRestrictProcess` lists.
    pub listed_groups: Vec<Vec<u8>>,
    /// Whether a `WSGIDispatchScript` may send any request anywhere.
    pub groups_chosen_by_script: bool,
    /// Every setting in the configuration that has no effect yet, with its first position.
    pub without_effect: Vec<(String, Place)>,
    /// Every directive in the configuration that only mod_wsgi before version 5 has.
    pub dropped: Vec<DroppedDirective>,
    /// What is accepted but probably a mistake: sentences for the log.
    pub remarks: Vec<(Place, String)>,
    /// The same, of events that have a number of their own.
    pub numbered_remarks: Vec<(LogId, Place, String)>,
}

/// A directive that has a script answer a hook of httpd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Which directive.
    pub directive: &'static str,
    /// The group that is asked.
    pub process_group: Vec<u8>,
    /// It may be asked for the main interpreter.
    pub asks_main: bool,
    /// Where it stands in the configuration.
    pub place: Place,
}

/// A directive that chooses where requests run; `None` leaves the choice to other directives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which directive.
    pub directive: &'static str,
    /// The process group.
    pub process_group: Option<Template>,
    /// The application group.
    pub application_group: Option<Template>,
    /// Where it stands in the configuration.
    pub place: Place,
}

/// A directive that only mod_wsgi before version 5 has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedDirective {
    pub name: &'static str,
    /// Why it has no effect, as the end of a sentence.
    pub why: &'static str,
    pub place: Place,
}

impl Reading {
    /// Notes that the configuration has `what`, which has no effect yet.
    pub(super) fn note_without_effect(&mut self, what: &str, place: &Place) {
        if !self.without_effect.iter().any(|(known, _)| known == what) {
            self.without_effect.push((what.to_owned(), place.clone()));
        }
    }

    /// A line for each directive that only mod_wsgi before version 5 has.
    pub fn dropped_sentences(&self) -> Vec<String> {
        let sentence = |DroppedDirective { name, why, place }: &DroppedDirective| {
            format!(
                "{place}: {name} is a directive of mod_wsgi 4, which mod_wsgi 5 took away. It has no \
                 effect: {why}. Take the line out."
            )
        };
        self.dropped.iter().map(sentence).collect()
    }

    /// One line that names every setting that was accepted and has no effect yet.
    pub fn without_effect_sentence(&self) -> Option<String> {
        let (_, first) = self.without_effect.first()?;
        let names: Vec<&str> = self
            .without_effect
            .iter()
            .map(|(name, _)| &name[..])
            .collect();
        Some(format!(
            "Accepted and checked, but without effect in this version: {} (the first at {first}).",
            names.join(", "),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_without_effect_are_said_once_in_one_line() {
        let mut reading = Reading::default();
        assert_eq!(reading.without_effect_sentence(), None);
        let place = Place {
            file: "a.conf".into(),
            line: 3,
            ..Place::default()
        };
        reading.note_without_effect("WSGIDispatchScript", &place);
        reading.note_without_effect("WSGIDaemonProcess queue-timeout=", &Place::default());
        reading.note_without_effect("WSGIDispatchScript", &Place::default());
        assert_eq!(
            reading.without_effect_sentence().unwrap(),
            "Accepted and checked, but without effect in this version: WSGIDispatchScript, \
             WSGIDaemonProcess queue-timeout= (the first at a.conf:3)."
        );
    }
}
