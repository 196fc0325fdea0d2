//! `start_response`, the `write` it returns, and `wsgi.early_hints`.
//!
//! Runs in: threads of the application. The three are functions bound to one object, a [`Call`],
//! which holds no Python object and so can't be part of a reference cycle.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use pyo3::ffi;
use wire::log_id::FIELD_DROPPED;
use wire::response::Level;

use super::application;
use super::events;
use super::native::{send_data, send_output, with_output};
use super::state::not_text;
use crate::exchange::response::Refusal;
use crate::exchange::response_head::{Head, Refused};
use crate::exchange::Exchange;
use crate::python::interpreter::Interpreter;
use crate::python::object::{Exception, Gil, Object, Raised};
use crate::python::types::{self, Arguments, Class, Table};

/// What the functions of one request share.
pub struct Call {
    pub exchange: Arc<Exchange>,
    pub interpreter: &'static Interpreter,
}

/// The type of [`Call`] objects.
pub fn class(gil: Gil<'_>) -> Result<Class<Call>, Raised> {
    static METHODS: Table<[ffi::PyMethodDef; 1]> = Table::new([types::NO_METHOD]);
    // SAFETY: the type has neither methods nor slots of its own.
    unsafe {
        Class::new(
            gil,
            c"mod_wsgi.Call",
            c"One call of the application.",
            METHODS.as_ptr().cast(),
            &[],
        )
    }
}

static START_RESPONSE: Table<ffi::PyMethodDef> = Table::new(types::method(
    c"start_response",
    start_response,
    c"start_response(status, headers, exc_info=None) -> write",
));
static WRITE: Table<ffi::PyMethodDef> = Table::new(types::method(
    c"write",
    write,
    c"Sends bytes of the response body.",
));
static EARLY_HINTS: Table<ffi::PyMethodDef> = Table::new(types::method(
    c"early_hints",
    early_hints,
    c"Sends 103 Early Hints with these headers.",
));

/// `start_response`, bound to a request's [`Call`].
pub fn start_response_of(gil: Gil<'_>, call: &Object) -> Result<Object, Raised> {
    // SAFETY: the function takes a `Call` first, and `call` is one.
    unsafe { types::bound(gil, &START_RESPONSE, call) }
}

/// `wsgi.early_hints`, bound to a request's [`Call`].
pub fn early_hints_of(gil: Gil<'_>, call: &Object) -> Result<Object, Raised> {
    // SAFETY: the function takes a `Call` first, and `call` is one.
    unsafe { types::bound(gil, &EARLY_HINTS, call) }
}

fn over(gil: Gil<'_>, name: &str) -> Raised {
    let text = format!("{name} was called after the request had ended");
    gil.raise(Exception::Runtime, &text)
}

fn value_error(gil: Gil<'_>, refused: &Refused) -> Raised {
    gil.raise(Exception::Value, &refused.0)
}

/// Adds a list of (name, value) pairs to a head, checking each.
pub fn add_fields(gil: Gil<'_>, head: &mut Head, headers: &Object) -> Result<(), Raised> {
    let mut index = 0;
    while let Some(pair) = headers.item(gil, index) {
        index += 1;
        if !pair.is_tuple() {
            let text = format!(
                "each response header must be a tuple of name and value, not {}",
                pair.type_name(gil)
            );
            return Err(gil.raise(Exception::Type, &text));
        }
        let (Some(name), Some(value), 2) =
            (pair.item(gil, 0), pair.item(gil, 1), pair.sequence_len())
        else {
            let text = "each response header must be a tuple of two: name and value";
            return Err(gil.raise(Exception::Value, text));
        };
        if !name.is_text() {
            return Err(not_text(gil, "the name of a response header", &name));
        }
        if !value.is_text() {
            return Err(not_text(gil, "the value of a response header", &value));
        }
        let (name, value) = (name.to_latin1(gil)?, value.to_latin1(gil)?);
        head.field(
            name.as_bytes().unwrap_or_default(),
            value.as_bytes().unwrap_or_default(),
        )
        .map_err(|refused| value_error(gil, &refused))?;
    }
    Ok(())
}

fn begin(
    gil: Gil<'_>,
    call: &Call,
    owner: &Object,
    arguments: &Arguments<'_>,
) -> Result<Object, Raised> {
    arguments.expect(gil, "start_response", 2..=3)?;
    let (over_already, sent) = with_output(gil, &call.exchange, |output| {
        (output.over(), output.head_sent())
    });
    if over_already {
        return Err(over(gil, "start_response()"));
    }
    // `expect` has seen that there are two at least.
    let status = arguments.get(gil, 0).unwrap_or_else(|| gil.none());
    let headers = arguments.get(gil, 1).unwrap_or_else(|| gil.none());
    let exc_info = arguments.get(gil, 2).filter(|given| !given.is_none());
    if let Some(state) = call.interpreter.state() {
        events::response(gil, state, &status, &headers, exc_info.as_ref())?;
    }
    if !status.is_text() {
        return Err(not_text(gil, "the status", &status));
    }
    if !headers.is_list() {
        let text = format!(
            "the response headers must be a list, not {}",
            headers.type_name(gil)
        );
        return Err(gil.raise(Exception::Type, &text));
    }
    if let Some(exc_info) = &exc_info {
        if !exc_info.is_tuple() {
            return Err(gil.raise(Exception::Runtime, "exc_info must be a tuple or None"));
        }
        if sent {
            // The application learns that its error page comes too late, from its own error.
            if let Some(error) = exc_info.item(gil, 1).filter(|error| !error.is_none()) {
                return Err(gil.raise_object(&error));
            }
        }
    }
    if sent {
        let text = "start_response() was called after the response headers had been sent";
        return Err(gil.raise(Exception::Runtime, text));
    }
    let status = status.to_latin1(gil)?;
    let mut head = Head::new(status.as_bytes().unwrap_or_default())
        .map_err(|refused| value_error(gil, &refused))?;
    add_fields(gil, &mut head, &headers)?;
    if let Some(dropped) = head.dropped {
        explain_dropped(gil, call, dropped);
    }
    with_output(gil, &call.exchange, |output| output.set_head(head))
        .map_err(|refusal| refuse(gil, "start_response()", refusal))?;
    // SAFETY: `write` takes a `Call` first, and `owner` is one.
    unsafe { types::bound(gil, &WRITE, owner) }
}

/// Says that a field was dropped, once for all requests of an interpreter.
fn explain_dropped(gil: Gil<'_>, call: &Call, name: &str) {
    let Some(state) = call.interpreter.state() else {
        return;
    };
    if state.said_dropped.swap(true, Ordering::Relaxed) {
        return;
    }
    let text = format!(
        "{FIELD_DROPPED}: the application set the response header '{name}', which is dropped, as all \
         headers are that speak about the connection: Apache writes them. Said once."
    );
    application::log(gil, &call.exchange, Level::Warning, &text);
}

fn refuse(gil: Gil<'_>, name: &str, refusal: Refusal) -> Raised {
    match refusal {
        Refusal::Over => over(gil, name),
        Refusal::NoHead => gil.raise(
            Exception::Runtime,
            &format!("{name} was called before start_response()"),
        ),
        Refusal::HeadSent => gil.raise(
            Exception::Runtime,
            &format!("{name} was called after the response headers had been sent"),
        ),
        Refusal::Stuck => gil.raise(
            Exception::Os,
            "the client does not take the response, and the time limit has passed",
        ),
        Refusal::Gone => gil.raise(
            Exception::Os,
            "the client closed its connection before it had got the whole response",
        ),
    }
}

unsafe extern "C" fn start_response(
    owner: *mut ffi::PyObject,
    items: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, with the GIL, a `Call` and the arguments of METH_FASTCALL.
    unsafe {
        types::enter_object("start_response", |gil| {
            let call = types::value::<Call>(owner);
            begin(gil, call, &gil.share(owner), &Arguments::new(items, count))
        })
    }
}

unsafe extern "C" fn write(
    owner: *mut ffi::PyObject,
    items: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, with the GIL, a `Call` and the arguments of METH_FASTCALL.
    unsafe {
        types::enter_object("write", |gil| {
            let call = types::value::<Call>(owner);
            let arguments = Arguments::new(items, count);
            arguments.expect(gil, "write", 1..=1)?;
            let data = arguments.get(gil, 0).unwrap_or_else(|| gil.none());
            let Some(bytes) = data.as_bytes() else {
                let text = format!("write() takes bytes, not {}", data.type_name(gil));
                return Err(gil.raise(Exception::Type, &text));
            };
            let exchange = &call.exchange;
            // No bytes send no head either, but after the end that is said.
            if !bytes.is_empty() || with_output(gil, exchange, |output| output.over()) {
                send_data(gil, exchange, bytes)
                    .map_err(|refusal| refuse(gil, "write()", refusal))?;
            }
            Ok(gil.none())
        })
    }
}

unsafe extern "C" fn early_hints(
    owner: *mut ffi::PyObject,
    items: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, with the GIL, a `Call` and the arguments of METH_FASTCALL.
    unsafe {
        types::enter_object("early_hints", |gil| {
            let call = types::value::<Call>(owner);
            let arguments = Arguments::new(items, count);
            arguments.expect(gil, "early_hints", 1..=1)?;
            let headers = arguments.get(gil, 0).unwrap_or_else(|| gil.none());
            interim(gil, &call.exchange, "early_hints()", 103, &headers)?;
            Ok(gil.none())
        })
    }
}

/// Sends an interim response where one can be sent; returns whether it was. One that comes too late,
/// or that the client would not understand, is of no use and no error.
pub fn interim(
    gil: Gil<'_>,
    exchange: &Exchange,
    name: &str,
    status: u16,
    headers: &Object,
) -> Result<bool, Raised> {
    let reason = match status {
        102 => "Processing",
        103 => "Early Hints",
        _ => {
            let text = format!("{name} sends 102 and 103, not {status}");
            return Err(gil.raise(Exception::Value, &text));
        }
    };
    let list = as_list(gil, headers)?;
    let mut head = Head::interim(status, reason);
    add_fields(gil, &mut head, &list)?;
    let refusal = send_output(gil, exchange, |output| {
        if !exchange.facts.interim {
            return Some(if output.over() {
                Refusal::Over
            } else {
                Refusal::HeadSent
            });
        }
        output.interim(&head).err()
    });
    match refusal {
        None => Ok(true),
        Some(Refusal::HeadSent) => Ok(false),
        Some(refusal) => Err(refuse(gil, name, refusal)),
    }
}

/// A list of whatever can be iterated.
pub fn as_list(gil: Gil<'_>, items: &Object) -> Result<Object, Raised> {
    if items.is_list() {
        return Ok(items.clone_ref(gil));
    }
    let list = gil.list()?;
    let iterator = items.iterator(gil)?;
    while let Some(item) = iterator.next(gil)? {
        list.append(gil, &item)?;
    }
    Ok(list)
}
