//! `start_response`, the `write` it returns, and `wsgi.early_hints`.
//!
//! Runs in: threads of the application. The three are functions bound to one object, a [`Call`],
//! which holds no Python object and so can't be part of a reference cycle.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use wire::log_id::CONNECTION_HEADER_DROPPED;
use wire::response::Level;

use super::events;
use super::python_functions::PythonFunctions;
use super::response_headers::{add_fields, interim, not_text, over, refuse, value_error};
use super::send::{log, send_data, with_response};
use crate::exchange::response_head::ResponseHead;
use crate::exchange::Exchange;
use crate::python::class::{Class, Description, Instance};
use crate::python::function::{method, Arguments, Method};
use crate::python::gil::{Exception, Gil, PyResult, Raised};

/// What the functions of one request share.
pub struct Call {
    pub exchange: Arc<Exchange>,
    pub python: &'static PythonFunctions,
    /// It was logged that a header field was dropped, for any request of the interpreter.
    pub dropped_field_logged: &'static AtomicBool,
}

/// The type of [`Call`] objects.
pub fn class(gil: Gil<'_>) -> Result<Class<Call>, Raised> {
    Class::new(
        gil,
        &Description {
            name: c"mod_wsgi.Call",
            doc: c"One call of the application.",
            methods: &[],
            attributes: &[],
            iteration: None,
        },
    )
}

static START_RESPONSE: Method<Call> = method(
    c"start_response",
    start_response,
    c"start_response(status, headers, exc_info=None) -> write",
);
static WRITE: Method<Call> = method(c"write", write, c"Sends bytes of the response body.");
static EARLY_HINTS: Method<Call> = method(
    c"early_hints",
    early_hints,
    c"Sends 103 Early Hints with these headers.",
);

/// `start_response`, bound to a request's [`Call`].
pub fn start_response_of<'g>(call: &Instance<'g, Call>) -> PyResult<'g> {
    START_RESPONSE.bound(call)
}

/// `wsgi.early_hints`, bound to a request's [`Call`].
pub fn early_hints_of<'g>(call: &Instance<'g, Call>) -> PyResult<'g> {
    EARLY_HINTS.bound(call)
}

fn start_response<'g>(
    gil: Gil<'g>,
    call: &Instance<'g, Call>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "start_response", 2..=3)?;
    let (over_already, sent) = with_response(gil, &call.exchange, |response| {
        (response.over(), response.head_sent())
    });
    if over_already {
        return Err(over(gil, "start_response()"));
    }
    // `expect` has seen that there are two at least.
    let status = arguments.get_or_none(gil, 0);
    let headers = arguments.get_or_none(gil, 1);
    let exc_info = arguments.get(2).filter(|given| !given.is_none());
    events::response(gil, call.python, &status, &headers, exc_info)?;
    if !status.is_text() {
        return Err(not_text(gil, "the status", &status));
    }
    if !headers.is_list() {
        let text = format!(
            "the response headers must be a list, not {}",
            headers.type_name()
        );
        return Err(gil.raise(Exception::Type, &text));
    }
    if let Some(exc_info) = exc_info {
        if !exc_info.is_tuple() {
            return Err(gil.raise(
                Exception::Runtime,
                "start_response() argument exc_info must be a tuple of three or None",
            ));
        }
        if sent {
            // The application learns that its error page comes too late, from its own error.
            let named = exc_info.item(0).zip(exc_info.item(1));
            let named = named.and_then(|(class, value)| gil.raise_named(&class, &value));
            if let Some(raised) = named {
                return Err(raised);
            }
        }
    }
    if sent {
        let text = "start_response() was called after the response headers had been sent";
        return Err(gil.raise(Exception::Runtime, text));
    }
    let status = status.to_latin1()?;
    let mut head = ResponseHead::new(status.as_bytes().unwrap_or_default())
        .map_err(|invalid| value_error(gil, &invalid))?;
    add_fields(gil, &mut head, &headers)?;
    if let Some(dropped) = head.dropped {
        explain_dropped(gil, call, dropped);
    }
    with_response(gil, &call.exchange, |response| response.set_head(head))
        .map_err(|error| refuse(gil, "start_response()", error))?;
    WRITE.bound(call)
}

/// Says that a field was dropped, once for all requests of an interpreter.
fn explain_dropped(gil: Gil<'_>, call: &Call, name: &str) {
    if call.dropped_field_logged.swap(true, Ordering::Relaxed) {
        return;
    }
    let text = format!(
        "{CONNECTION_HEADER_DROPPED}: the application set the response header '{name}', which is dropped, as all \
         headers are that speak about the connection: Apache writes them. Said once."
    );
    log(gil, &call.exchange, Level::Warning, &text);
}

fn write<'g>(
    gil: Gil<'g>,
    call: &Instance<'g, Call>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "write", 1..=1)?;
    let data = arguments.get_or_none(gil, 0);
    let Some(bytes) = data.as_bytes() else {
        let text = format!("write() takes bytes, not {}", data.type_name());
        return Err(gil.raise(Exception::Type, &text));
    };
    let exchange = &call.exchange;
    let sent = match bytes {
        // Nothing is sent for it, but the headers are final.
        [] => with_response(gil, exchange, |response| {
            response.begin(exchange.facts.head)
        }),
        bytes => send_data(gil, exchange, bytes),
    };
    sent.map_err(|error| refuse(gil, "write()", error))?;
    Ok(gil.none())
}

fn early_hints<'g>(
    gil: Gil<'g>,
    call: &Instance<'g, Call>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "early_hints", 1..=1)?;
    let headers = arguments.get_or_none(gil, 0);
    interim(gil, &call.exchange, "early_hints()", 103, &headers)?;
    Ok(gil.none())
}
