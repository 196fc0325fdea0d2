//! The environ as httpd and its other modules see it: `%{SCRIPT_NAME}e` in a log, `env=` of a
//! header, `reqenv()`, and `REDIRECT_*` of the page about an error.
//!
//! Runs in: an Apache child, on the thread that serves the request. Every request fills in all of
//! it, because nobody can know whether a module will read it: an `.htaccess` can make one do so.

use std::ffi::CString;

use config::proxies::KNOWN_HEADERS;
use httpd::table::Table;
use wire::{keys, Malformed};

use super::{write_cgi, write_headers, write_own, Entries, EnvironFacts, Pairs};

/// Adds to `table` what the application gets besides the variables of the configuration, which the
/// table has already.
pub fn publish<'a>(table: Table<'_>, facts: &EnvironFacts<'_>, headers: impl Pairs<'a>) {
    for (key, _) in KNOWN_HEADERS {
        if facts.forwarded.withholds(key.as_bytes()) {
            if let Ok(key) = CString::new(*key) {
                table.unset(&key);
            }
        }
    }
    let mut out = Published(table);
    // Cannot fail: httpd's texts contain no NUL byte, and a table has no maximum of entries.
    let _ = write_headers(&mut out, facts, headers)
        .and_then(|()| write_cgi(&mut out, facts))
        .and_then(|()| write_own(&mut out, facts));
}

struct Published<'p>(Table<'p>);

impl Entries for Published<'_> {
    fn known(&mut self, code: u8, value: &[u8]) -> Result<(), Malformed> {
        self.named(keys::name(code).unwrap_or_default().as_bytes(), value)
    }

    fn named(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        self.0.set(name, value).map_err(|_| Malformed::Invalid)
    }
}
