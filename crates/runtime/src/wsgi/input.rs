//! `wsgi.input`.
//!
//! Runs in: threads of the application. What came with the request is handed out at once; for more
//! the GIL is released while the Apache child reads from the client.

use std::ffi::c_void;
use std::sync::Arc;

use pyo3::ffi;

use super::native::{send_output, with_output};
use super::start_response::{add_fields, as_list};
use crate::exchange::request_body::{Body, Lost};
use crate::exchange::response_head::Head;
use crate::exchange::Exchange;
use crate::python::object::{Exception, Gil, Object, Raised};
use crate::python::types::{self, Arguments, Class, Table};

/// The input of one request.
pub struct Input {
    pub exchange: Arc<Exchange>,
}

/// Why a read failed.
enum Failure {
    Over,
    Lost(Lost),
}

/// One way of reading: how to tell that it need not wait, and how to do it.
#[derive(Clone, Copy)]
enum Reading {
    Bytes(usize),
    Line(usize),
}

impl Reading {
    fn at_hand(self, body: &Body) -> bool {
        match self {
            Self::Bytes(limit) => body.at_hand(limit),
            Self::Line(limit) => body.line_at_hand(limit),
        }
    }

    /// Reading nothing, as the first thing, asks for the body all the same: this is how an
    /// application has `100 Continue` sent.
    fn needs_pull(self, body: &Body) -> bool {
        match self {
            Self::Bytes(0) => body.needs_pull(1),
            _ if self.at_hand(body) => false,
            Self::Bytes(limit) | Self::Line(limit) => body.needs_pull(limit),
        }
    }

    fn run(self, body: &mut Body, out: &mut Vec<u8>) -> Result<(), Lost> {
        match self {
            Self::Bytes(limit) => body.read(limit, out),
            Self::Line(limit) => body.read_line(limit, out),
        }
    }
}

/// Reads of up to this many bytes are received where the application gets them; for a longer one
/// memory is taken as the bytes come, since most that ask for so much get less.
const IN_PLACE: usize = 1 << 20;

fn read(gil: Gil<'_>, exchange: &Exchange, reading: Reading) -> Result<Object, Raised> {
    let mut out = Vec::new();
    let done = match exchange.try_input() {
        Some(mut input) => match input.as_mut() {
            None => Some(Err(Failure::Over)),
            Some(body) if reading.at_hand(body) && !reading.needs_pull(body) => {
                if let Reading::Bytes(limit) = reading {
                    return match body.read_at_hand(limit) {
                        Ok(bytes) => gil.bytes(bytes),
                        Err(lost) => Err(raise(gil, Failure::Lost(lost))),
                    };
                }
                Some(reading.run(body, &mut out).map_err(Failure::Lost))
            }
            Some(_) => None,
        },
        None => None,
    };
    match (done, reading) {
        (Some(done), _) => done.map_err(|failure| raise(gil, failure))?,
        (None, Reading::Bytes(limit)) if limit <= IN_PLACE => {
            let fill = |into: &mut [u8]| with_body(exchange, reading, |body| body.read_into(into));
            return gil.bytes_filled(limit, fill, |failure| raise(gil, failure));
        }
        (None, _) => gil
            .released(|| with_body(exchange, reading, |body| reading.run(body, &mut out)))
            .map_err(|failure| raise(gil, failure))?,
    }
    gil.bytes(&out)
}

/// Reads what may have to be waited for. Only with the GIL released.
fn with_body<T>(
    exchange: &Exchange,
    reading: Reading,
    read: impl FnOnce(&mut Body) -> Result<T, Lost>,
) -> Result<T, Failure> {
    let mut input = exchange.wait_input();
    let body = input.as_mut().ok_or(Failure::Over)?;
    if reading.needs_pull(body) {
        exchange.pull();
        body.pulled();
    }
    read(body).map_err(Failure::Lost)
}

fn raise(gil: Gil<'_>, failure: Failure) -> Raised {
    match failure {
        Failure::Lost(lost) => gil.raise(Exception::Os, &lost.to_string()),
        Failure::Over => over(gil),
    }
}

fn over(gil: Gil<'_>) -> Raised {
    gil.raise(
        Exception::Runtime,
        "wsgi.input was used after the request had ended",
    )
}

macro_rules! input_method {
    ($function:ident, $name:literal, $range:expr, |$gil:ident, $exchange:ident, $arguments:ident| $body:expr) => {
        unsafe extern "C" fn $function(
            owner: *mut ffi::PyObject,
            items: *mut *mut ffi::PyObject,
            count: ffi::Py_ssize_t,
        ) -> *mut ffi::PyObject {
            // SAFETY: called by Python, with the GIL, an `Input` and METH_FASTCALL's arguments.
            unsafe {
                types::enter_object($name, |$gil| {
                    let $exchange = &*types::value::<Input>(owner).exchange;
                    let $arguments = Arguments::new(items, count);
                    $arguments.expect($gil, $name, $range)?;
                    $body
                })
            }
        }
    };
}

input_method!(read_method, "read", 0..=1, |gil, exchange, arguments| {
    let limit = arguments.size(gil, 0)?.unwrap_or(usize::MAX);
    read(gil, exchange, Reading::Bytes(limit))
});

input_method!(
    readline_method,
    "readline",
    0..=1,
    |gil, exchange, arguments| {
        let limit = arguments.size(gil, 0)?.unwrap_or(usize::MAX);
        read(gil, exchange, Reading::Line(limit))
    }
);

input_method!(
    readlines_method,
    "readlines",
    0..=1,
    |gil, exchange, arguments| {
        // As with files, a hint of 0 is no hint.
        let hint = arguments.size(gil, 0)?.filter(|&hint| hint > 0);
        let lines = gil.list()?;
        let mut total = 0;
        while hint.is_none_or(|hint| total < hint) {
            let line = read(gil, exchange, Reading::Line(usize::MAX))?;
            let len = line.as_bytes().map_or(0, <[u8]>::len);
            if len == 0 {
                break;
            }
            total += len;
            lines.append(gil, &line)?;
        }
        Ok(lines)
    }
);

input_method!(
    close_method,
    "close",
    0..=0,
    |gil, _exchange, _arguments| Ok(gil.none())
);

/// Takes headers and, by position or name, whether their names are to be capitalised, as eventlet.
unsafe extern "C" fn set_continue_headers(
    owner: *mut ffi::PyObject,
    positional: *mut ffi::PyObject,
    named: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    const NAME: &str = "set_hundred_continue_response_headers";
    // SAFETY: called by Python, with the GIL, an `Input`, a tuple, and a dict or null.
    unsafe {
        types::enter_object(NAME, |gil| {
            let exchange = &*types::value::<Input>(owner).exchange;
            let positional = gil.share(positional);
            let named = (!named.is_null()).then(|| gil.share(named));
            let argument = |index, name| match (positional.item(gil, index), &named) {
                (None, Some(named)) => named.dict_get(gil, &gil.text(name)?),
                (given, _) => Ok(given),
            };
            let headers = argument(0, "headers")?;
            let capitalise = match argument(1, "capitalize_response_headers")? {
                Some(flag) => flag.is_true(gil)?,
                None => true,
            };
            let Some(headers) = headers.filter(|_| positional.sequence_len() <= 2) else {
                let text = format!("{NAME}() takes headers and capitalize_response_headers");
                return Err(gil.raise(Exception::Type, &text));
            };
            let mut head = Head::interim(100, "Continue");
            add_fields(gil, &mut head, &as_list(gil, &headers)?)?;
            if capitalise {
                head.capitalise();
            }
            with_output(gil, exchange, |output| output.prepare_continue(head));
            Ok(gil.none())
        })
    }
}

input_method!(
    send_continue,
    "send_hundred_continue_response",
    0..=0,
    |gil, exchange, _arguments| {
        let facts = exchange.facts;
        let sent = send_output(gil, exchange, |output| {
            if output.over() {
                return None;
            }
            if !facts.expects_continue || !facts.interim {
                return Some(false);
            }
            let head = output.continue_head();
            Some(output.send_continue(&head))
        });
        sent.map(|sent| gil.boolean(sent)).ok_or_else(|| over(gil))
    }
);

unsafe extern "C" fn iterate(owner: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by Python, with the GIL and a live object.
    unsafe { types::enter_object("iter", |gil| Ok(gil.share(owner))) }
}

unsafe extern "C" fn next_line(owner: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by Python, with the GIL and an `Input`. Null without an exception is the end.
    unsafe {
        types::enter("next", std::ptr::null_mut(), |gil| {
            let exchange = &*types::value::<Input>(owner).exchange;
            let line = read(gil, exchange, Reading::Line(usize::MAX))?;
            Ok(match line.as_bytes() {
                Some([]) | None => std::ptr::null_mut(),
                Some(_) => line.into_ptr(),
            })
        })
    }
}

static METHODS: Table<[ffi::PyMethodDef; 7]> = Table::new([
    types::method(
        c"read",
        read_method,
        c"Reads up to a number of bytes, or all.",
    ),
    types::method(
        c"readline",
        readline_method,
        c"Reads a line, or its first bytes.",
    ),
    types::method(c"readlines", readlines_method, c"Reads lines into a list."),
    types::method(
        c"close",
        close_method,
        c"Does nothing: the input is the server's.",
    ),
    types::method_with_names(
        c"set_hundred_continue_response_headers",
        set_continue_headers,
        c"Headers for the 100 Continue that the first read sends.",
    ),
    types::method(
        c"send_hundred_continue_response",
        send_continue,
        c"Sends 100 Continue now, if the client waits for it.",
    ),
    types::NO_METHOD,
]);

/// The type of `wsgi.input`.
pub fn class(gil: Gil<'_>) -> Result<Class<Input>, Raised> {
    let slots = [
        (ffi::Py_tp_iter, iterate as ffi::getiterfunc as *mut c_void),
        (
            ffi::Py_tp_iternext,
            next_line as ffi::iternextfunc as *mut c_void,
        ),
    ];
    // SAFETY: all functions take an `Input` first, with the signatures of their places.
    unsafe {
        Class::new(
            gil,
            c"mod_wsgi.Input",
            c"The body of a request.",
            METHODS.as_ptr().cast(),
            &slots,
        )
    }
}
