//! The environ as httpd and its other modules see it: `%{SCRIPT_NAME}e` in a log, `env=` of a header,
//! `reqenv()`, and `REDIRECT_*` of the page about an error.
//!
//! Runs in: an Apache child, on the thread that serves the request. All of it is filled in for every
//! request: whether anybody reads it can't be known, since any module may, and any `.htaccess` can
//! have one read it.

use std::ffi::CString;

use config::proxies::KNOWN_HEADERS;
use httpd::table::Table;
use wire::{keys, Malformed};

use super::{write_cgi, write_headers, write_own, Entries, EnvironFacts, Pairs};

/// Puts into `table`, in which the variables of the configuration are already, what the application
/// is told besides them.
pub fn publish<'a>(table: Table<'_>, facts: &EnvironFacts<'_>, headers: impl Pairs<'a>) {
    for (key, _) in KNOWN_HEADERS {
        if facts.forwarded.withholds(key.as_bytes()) {
            if let Ok(key) = CString::new(*key) {
                table.unset(&key);
            }
        }
    }
    let mut out = Published(table);
    // Nothing that httpd has parsed holds a NUL byte, and no number of entries is too many here.
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
