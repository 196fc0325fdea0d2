//! Strings that are used for every request: keys of the environ and attributes.
//!
//! Runs in: the worker. Made once for each interpreter, and read under its GIL.

use std::ffi::CString;

use wire::keys;

use crate::python::gil::{Gil, Raised};
use crate::python::object::{Object, Stored};

/// Interned strings of one interpreter.
pub struct Names {
    /// Those of [`keys::KNOWN`], in its order.
    known: Vec<Stored>,
    pub input: Stored,
    pub errors: Stored,
    pub early_hints: Stored,
    pub posthooks: Stored,
    pub eventlet_posthooks: Stored,
    pub request_start: Stored,
    pub queue_start: Stored,
    pub daemon_start: Stored,
    pub application_start: Stored,
    pub thread_id: Stored,
    pub request_id: Stored,
    pub close: Stored,
    pub mtime: Stored,
    pub reload_required: Stored,
    pub application: Stored,
    pub ssl_is_https: Stored,
    pub ssl_var_lookup: Stored,
}

/// An interned string.
pub fn name(gil: Gil<'_>, text: &str) -> Result<Stored, Raised> {
    // The names are ours and hold no NUL.
    let text = CString::new(text).unwrap_or_default();
    gil.interned(&text).map(|name| Stored::new(gil, name))
}

impl Names {
    /// # Errors
    /// For want of memory.
    pub fn new(gil: Gil<'_>) -> Result<Self, Raised> {
        let known = keys::KNOWN.iter().map(|key| name(gil, key));
        Ok(Self {
            known: known.collect::<Result<_, _>>()?,
            input: name(gil, "wsgi.input")?,
            errors: name(gil, "wsgi.errors")?,
            early_hints: name(gil, "wsgi.early_hints")?,
            posthooks: name(gil, "mod_wsgi.posthooks")?,
            eventlet_posthooks: name(gil, "eventlet.posthooks")?,
            request_start: name(gil, "mod_wsgi.request_start")?,
            queue_start: name(gil, "mod_wsgi.queue_start")?,
            daemon_start: name(gil, "mod_wsgi.daemon_start")?,
            application_start: name(gil, "mod_wsgi.application_start")?,
            thread_id: name(gil, "mod_wsgi.thread_id")?,
            request_id: name(gil, "mod_wsgi.request_id")?,
            close: name(gil, "close")?,
            mtime: name(gil, "__mtime__")?,
            reload_required: name(gil, "reload_required")?,
            application: name(gil, "application")?,
            ssl_is_https: name(gil, "mod_ssl.is_https")?,
            ssl_var_lookup: name(gil, "mod_ssl.var_lookup")?,
        })
    }

    /// The string of a known key.
    pub fn known<'a>(&'a self, gil: Gil<'a>, code: u8) -> Option<&'a Object<'a>> {
        let index = usize::from(code).checked_sub(1)?;
        self.known.get(index).map(|key| key.bind(gil))
    }
}
