//! The number of every line an administrator may have to act on: `WSGI0nnn`.
//!
//! Runs in: all processes; numbers travel in the text of `Fail` and `Log` frames too. This is the
//! only place where a number is written; a test fails when one stands anywhere else.
//!
//! Where the event is one of the C module mod_wsgi 6.1.1 (which uses 0001 to 0210) the number is
//! its number, so that what is written on the web about it can be found. Ours begin at 0300. A
//! number stays with its meaning: when a line is given up, its row moves to [`RETIRED`].
//!
//! | numbers | said by |
//! |---|---|
//! | [`worker`]: 0300 to 0329 | the Python runtime in a worker |
//! | [`supervisor`]: 0330 to 0359 | the supervisor |
//! | [`child`]: 0360 to 0379 | Apache's children, about one request |
//! | [`parent`]: 0380 to 0399 | Apache's parent, about the configuration and the supervisor |
//!
//! `docs/errors.md` is made of the rows: `cargo run -p wsgi-wire --example errors-page`.

use std::fmt;

mod child;
mod page;
mod parent;
mod supervisor;
mod worker;

pub use child::*;
pub use page::{page, wrap};
pub use parent::*;
pub use supervisor::*;
pub use worker::*;

/// A number. Shown as it stands in the log: `WSGI0135`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(u16);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WSGI{:04}", self.0)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A row of the registry.
#[derive(Debug)]
pub struct Event {
    /// The number.
    pub id: LogId,
    /// The name of its constant.
    pub name: &'static str,
    /// The httpd level it is logged with.
    pub level: &'static str,
    /// The HTTP status the client gets, in words where there are several; empty where no request
    /// fails.
    pub status: &'static str,
    /// When the line appears; one or two sentences.
    pub when: &'static str,
    /// The text of one such line, as logged, without what httpd puts in front.
    pub example: &'static str,
    /// What the administrator does.
    pub mend: &'static str,
}

/// Numbers that were in use once, and what they meant. None of them is used again.
pub const RETIRED: &[(u16, &str)] = &[(
    420,
    "a directive that restricts or decides and was not built yet",
)];

/// Every event, by number.
pub fn all() -> Vec<&'static Event> {
    let rooms = [
        child::CHILD,
        parent::PARENT,
        supervisor::SUPERVISOR,
        worker::WORKER,
    ];
    let mut all: Vec<_> = rooms.into_iter().flatten().collect();
    all.sort_by_key(|event| event.id);
    all
}

/// The events of one process: a constant for each, and a slice of all.
macro_rules! events {
    ($room:ident: $($name:ident = $number:literal {
        level: $level:literal,
        status: $status:literal,
        when: $when:literal,
        example: $example:literal,
        mend: $mend:literal $(,)?
    })*) => {
        $(
            #[doc = $when]
            pub const $name: super::LogId = super::LogId($number);
        )*
        pub(super) const $room: &[super::Event] = &[$(super::Event {
            id: $name,
            name: stringify!($name),
            level: $level,
            status: $status,
            when: $when,
            example: $example,
            mend: $mend,
        }),*];
    };
}
use events;

/// The constants of the worker as Python source, for the runtime's Python parts.
pub fn python_source() -> String {
    let mut source = String::new();
    for event in worker::WORKER {
        source.push_str(&format!("{} = '{}'\n", event.name, event.id));
    }
    source
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::RangeInclusive;

    use super::*;

    /// The last number of the C module.
    const LAST_OF_C: u16 = 210;

    #[test]
    fn no_number_and_no_name_is_used_twice() {
        let (mut numbers, mut names) = (BTreeSet::new(), BTreeSet::new());
        for (number, meaning) in RETIRED {
            assert!(
                numbers.insert(*number),
                "{number} is retired twice: {meaning}"
            );
        }
        for event in all() {
            assert!(numbers.insert(event.id.0), "{} is used twice", event.id);
            assert!(names.insert(event.name), "{} is used twice", event.name);
        }
    }

    #[test]
    fn each_process_has_numbers_of_its_own() {
        let check = |events: &[Event], own: RangeInclusive<u16>| {
            for event in events {
                let number = event.id.0;
                // From 400 on they are given out as they come.
                let is_free = number <= LAST_OF_C || number >= 400;
                assert!(is_free || own.contains(&number), "{}", event.id);
            }
        };
        check(worker::WORKER, 300..=329);
        check(supervisor::SUPERVISOR, 330..=359);
        check(child::CHILD, 360..=379);
        check(parent::PARENT, 380..=399);
    }

    #[test]
    fn each_row_is_whole() {
        for event in all() {
            let (id, example) = (event.id, event.example);
            assert!(example.starts_with(&format!("{id}: ")), "{id}: {example}");
            assert!(
                event.when.ends_with('.') && event.mend.ends_with(['.', '?']),
                "{id}"
            );
            let levels = ["alert", "crit", "error", "warn", "notice", "info"];
            assert!(levels.contains(&event.level), "{id}: {}", event.level);
            assert!(
                event.status.is_empty() || event.status.starts_with(|c: char| c.is_ascii_digit()),
                "{id}: {}",
                event.status
            );
        }
    }

    #[test]
    fn a_number_has_four_digits() {
        assert_eq!(SCRIPT_MISSING.to_string(), "WSGI0135");
        assert_eq!(format!("{CALLABLE_MISSING:?}"), "WSGI0089");
    }

    #[test]
    fn python_gets_the_constants_of_the_worker() {
        let source = python_source();
        assert!(
            source.contains("CALLABLE_MISSING = 'WSGI0089'\n"),
            "{source}"
        );
        assert!(!source.contains("SCRIPT_MISSING"), "{source}");
    }
}
