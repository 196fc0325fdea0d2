//! The environ of a request.
//!
//! Runs in: request threads. A copy of the interpreter's template, then the request's entries:
//! known keys are strings that exist already, and only values are made anew.

use wire::keys;
use wire::request::{Flags, Key, Request};

use super::state::State;
use crate::python::gil::{Gil, PyResult, Raised};
use crate::python::object::Object;

/// Keys whose values are names of the file system and not text of the protocol.
const PATHS: [u8; 2] = [keys::code("SCRIPT_FILENAME"), keys::code("DOCUMENT_ROOT")];
const REQUEST_ID: u8 = keys::code("mod_wsgi.request_id");

/// What the environ holds besides the request's entries.
pub struct Additions<'a, 'g> {
    pub input: &'a Object<'g>,
    pub errors: &'a Object<'g>,
    pub early_hints: &'a Object<'g>,
    /// The list of post hooks.
    pub hooks: &'a Object<'g>,
    /// Microseconds since the epoch.
    pub daemon_start: u64,
    pub application_start: u64,
    /// From 1.
    pub thread: u32,
}

/// An environ and the value of its `mod_wsgi.request_id`, if there is one.
pub type Built<'g> = (Object<'g>, Option<Object<'g>>);

/// Builds the environ.
pub fn build<'g>(
    gil: Gil<'g>,
    state: &State,
    request: &Request<'_>,
    more: &Additions<'_, 'g>,
) -> Result<Built<'g>, Raised> {
    let environ = state.template.bind(gil).dict_copy()?;
    let mut request_id = None;
    for (key, value) in request.environ.iter() {
        match key {
            Key::Known(code) => {
                let value = if PATHS.contains(&code) {
                    gil.path(value)?
                } else {
                    gil.latin1(value)?
                };
                // The decoder lets known codes through only.
                if let Some(name) = state.names.known(gil, code) {
                    environ.dict_set(name, &value)?;
                }
                if code == REQUEST_ID {
                    request_id = Some(value);
                }
            }
            Key::Named(name) => environ.dict_set(&gil.latin1(name)?, &gil.latin1(value)?)?,
        }
    }
    let names = &state.names;
    environ.dict_set(names.input.bind(gil), more.input)?;
    environ.dict_set(names.errors.bind(gil), more.errors)?;
    environ.dict_set(names.early_hints.bind(gil), more.early_hints)?;
    environ.dict_set(names.posthooks.bind(gil), more.hooks)?;
    if request.prologue.flags.has(Flags::EVENTLET) {
        environ.dict_set(names.eventlet_posthooks.bind(gil), more.hooks)?;
    }
    let thread = gil.int(more.thread.into())?;
    environ.dict_set(names.thread_id.bind(gil), &thread)?;
    for (name, time) in [
        (&names.request_start, request.prologue.request_start),
        (&names.queue_start, request.prologue.queue_start),
        (&names.daemon_start, more.daemon_start),
        (&names.application_start, more.application_start),
    ] {
        let seconds = gil.float(time as f64 / 1e6)?;
        environ.dict_set(name.bind(gil), &seconds)?;
    }
    Ok((environ, request_id))
}

/// Of entries with this in front the functions of mod_ssl are made that scripts of hooks find; the
/// rest is a variable's name, and nothing with it says that the connection is encrypted.
const SSL: &[u8] = b"mod_ssl.x-";

/// Builds the environ of a script that a hook of httpd asks.
pub fn build_for_hook<'g>(
    gil: Gil<'g>,
    state: &State,
    request: &Request<'_>,
    errors: &Object<'g>,
) -> PyResult<'g> {
    let environ = state.hook_template.bind(gil).dict_copy()?;
    let variables = gil.dict()?;
    let mut is_https = 0;
    for (key, value) in request.environ.iter() {
        match key {
            Key::Known(code) => {
                let value = match PATHS.contains(&code) {
                    true => gil.path(value)?,
                    false => gil.latin1(value)?,
                };
                // The decoder lets known codes through only.
                if let Some(name) = state.names.known(gil, code) {
                    environ.dict_set(name, &value)?;
                }
            }
            Key::Named(name) => match name.strip_prefix(SSL) {
                Some(b"") => is_https = 1,
                Some(name) => variables.dict_set(&gil.latin1(name)?, &gil.latin1(value)?)?,
                None => environ.dict_set(&gil.latin1(name)?, &gil.latin1(value)?)?,
            },
        }
    }
    environ.dict_set(state.names.errors.bind(gil), errors)?;
    let functions = state.python.ssl_functions.bind(gil);
    let functions = functions.call(&[&gil.int(is_https)?, &variables])?;
    for (index, name) in [&state.names.ssl_is_https, &state.names.ssl_var_lookup]
        .into_iter()
        .enumerate()
    {
        if let Some(function) = functions.item(index) {
            environ.dict_set(name.bind(gil), &function)?;
        }
    }
    Ok(environ)
}
