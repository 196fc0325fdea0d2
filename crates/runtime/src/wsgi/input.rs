//! `wsgi.input`.
//!
//! Runs in: threads of the application. Bytes that came with the request are returned at once; for
//! more the GIL is released while the Apache child reads from the client.

use std::sync::Arc;

use super::response_headers::{add_fields, as_list};
use super::send::{send_response, with_response};
use crate::exchange::request_body::{BodyError, RequestBody};
use crate::exchange::response_head::ResponseHead;
use crate::exchange::Exchange;
use crate::python::class::{Class, Description, Instance, Iteration};
use crate::python::function::{method, method_with_names, Arguments, Method};
use crate::python::gil::{Exception, Gil, PyResult, Raised};
use crate::python::object::Object;

/// The input of one request.
pub struct Input {
    pub exchange: Arc<Exchange>,
}

/// Why a read failed.
enum ReadError {
    Over,
    BodyError(BodyError),
}

/// One way of reading: how to tell that it need not wait, and how to do it.
#[derive(Clone, Copy)]
enum Reading {
    Bytes(usize),
    Line(usize),
}

impl Reading {
    fn at_hand(self, body: &RequestBody) -> bool {
        match self {
            Self::Bytes(limit) => body.at_hand(limit),
            Self::Line(limit) => body.line_at_hand(limit),
        }
    }

    /// Reading nothing, as the first thing, asks for the body all the same: this is how an
    /// application has `100 Continue` sent.
    fn needs_pull(self, body: &RequestBody) -> bool {
        match self {
            Self::Bytes(0) => body.needs_pull(1),
            _ if self.at_hand(body) => false,
            Self::Bytes(limit) | Self::Line(limit) => body.needs_pull(limit),
        }
    }

    fn run(self, body: &mut RequestBody, out: &mut Vec<u8>) -> Result<(), BodyError> {
        match self {
            Self::Bytes(limit) => body.read(limit, out),
            Self::Line(limit) => body.read_line(limit, out),
        }
    }
}

/// Reads of up to this many bytes are received where the application gets them; for a longer one
/// memory is taken as the bytes come, since most that ask for so much get less.
const IN_PLACE: usize = 1 << 20;

fn read<'g>(gil: Gil<'g>, exchange: &Exchange, reading: Reading) -> PyResult<'g> {
    let mut out = Vec::new();
    let done = match exchange.try_input() {
        Some(mut input) => match input.as_mut() {
            None => Some(Err(ReadError::Over)),
            Some(body) if reading.at_hand(body) && !reading.needs_pull(body) => {
                if let Reading::Bytes(limit) = reading {
                    return match body.read_at_hand(limit) {
                        Ok(bytes) => gil.bytes(bytes),
                        Err(lost) => Err(raise(gil, ReadError::BodyError(lost))),
                    };
                }
                Some(reading.run(body, &mut out).map_err(ReadError::BodyError))
            }
            Some(_) => None,
        },
        None => None,
    };
    match (done, reading) {
        (Some(done), _) => done.map_err(|error| raise(gil, error))?,
        (None, Reading::Bytes(limit)) if limit <= IN_PLACE => {
            let fill = |into: &mut [u8]| with_body(exchange, reading, |body| body.read_into(into));
            return gil.bytes_filled(limit, fill, |error| raise(gil, error));
        }
        (None, _) => gil
            .released(|| with_body(exchange, reading, |body| reading.run(body, &mut out)))
            .map_err(|error| raise(gil, error))?,
    }
    gil.bytes(&out)
}

/// Reads what may have to be waited for. Only with the GIL released.
fn with_body<T>(
    exchange: &Exchange,
    reading: Reading,
    read: impl FnOnce(&mut RequestBody) -> Result<T, BodyError>,
) -> Result<T, ReadError> {
    let mut input = exchange.wait_input();
    let body = input.as_mut().ok_or(ReadError::Over)?;
    if reading.needs_pull(body) {
        exchange.pull();
        body.pulled();
    }
    read(body).map_err(ReadError::BodyError)
}

fn raise(gil: Gil<'_>, error: ReadError) -> Raised {
    match error {
        ReadError::BodyError(lost) => gil.raise(Exception::Os, &lost.to_string()),
        ReadError::Over => over(gil),
    }
}

fn over(gil: Gil<'_>) -> Raised {
    gil.raise(
        Exception::Runtime,
        "wsgi.input was used after the request had ended",
    )
}

fn read_method<'g>(
    gil: Gil<'g>,
    input: &Instance<'g, Input>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "read", 0..=1)?;
    let limit = arguments.size(0)?.unwrap_or(usize::MAX);
    read(gil, &input.exchange, Reading::Bytes(limit))
}

fn readline_method<'g>(
    gil: Gil<'g>,
    input: &Instance<'g, Input>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "readline", 0..=1)?;
    let limit = arguments.size(0)?.unwrap_or(usize::MAX);
    read(gil, &input.exchange, Reading::Line(limit))
}

fn readlines_method<'g>(
    gil: Gil<'g>,
    input: &Instance<'g, Input>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "readlines", 0..=1)?;
    // As with files, a hint of 0 is no hint.
    let hint = arguments.size(0)?.filter(|&hint| hint > 0);
    let lines = gil.list()?;
    let mut total = 0;
    while hint.is_none_or(|hint| total < hint) {
        let line = read(gil, &input.exchange, Reading::Line(usize::MAX))?;
        let len = line.as_bytes().map_or(0, <[u8]>::len);
        if len == 0 {
            break;
        }
        total += len;
        lines.append(&line)?;
    }
    Ok(lines)
}

fn close_method<'g>(
    gil: Gil<'g>,
    _input: &Instance<'g, Input>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "close", 0..=0)?;
    Ok(gil.none())
}

/// Takes headers and, by position or name, whether their names are to be capitalised, as eventlet.
fn set_continue_headers<'g>(
    gil: Gil<'g>,
    input: &Instance<'g, Input>,
    positional: &Object<'g>,
    named: Option<&Object<'g>>,
) -> PyResult<'g> {
    const NAME: &str = "set_hundred_continue_response_headers";
    let argument = |index, name| match (positional.item(index), named) {
        (None, Some(named)) => named.dict_get(&gil.text(name)?),
        (given, _) => Ok(given),
    };
    let headers = argument(0, "headers")?;
    let capitalise = match argument(1, "capitalize_response_headers")? {
        Some(flag) => flag.is_true()?,
        None => true,
    };
    let Some(headers) = headers.filter(|_| positional.sequence_len() <= 2) else {
        let text = format!("{NAME}() takes headers and capitalize_response_headers");
        return Err(gil.raise(Exception::Type, &text));
    };
    let mut head = ResponseHead::interim(100, "Continue");
    add_fields(gil, &mut head, &as_list(gil, &headers)?)?;
    if capitalise {
        head.capitalise();
    }
    with_response(gil, &input.exchange, |response| {
        response.prepare_continue(head)
    });
    Ok(gil.none())
}

fn send_continue<'g>(
    gil: Gil<'g>,
    input: &Instance<'g, Input>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "send_hundred_continue_response", 0..=0)?;
    let facts = input.exchange.facts;
    let sent = send_response(gil, &input.exchange, |response| {
        if response.over() {
            return None;
        }
        if !facts.expects_continue || !facts.interim {
            return Some(false);
        }
        let head = response.continue_head();
        Some(response.send_continue(&head))
    });
    sent.map(|sent| gil.boolean(sent)).ok_or_else(|| over(gil))
}

fn next_line<'g>(gil: Gil<'g>, input: &Instance<'g, Input>) -> Result<Option<Object<'g>>, Raised> {
    let line = read(gil, &input.exchange, Reading::Line(usize::MAX))?;
    let is_end = line.as_bytes().is_none_or(<[u8]>::is_empty);
    Ok((!is_end).then_some(line))
}

static METHODS: [Method<Input>; 6] = [
    method(
        c"read",
        read_method,
        c"Reads up to a number of bytes, or all.",
    ),
    method(
        c"readline",
        readline_method,
        c"Reads a line, or its first bytes.",
    ),
    method(c"readlines", readlines_method, c"Reads lines into a list."),
    method(
        c"close",
        close_method,
        c"Does nothing: the input is the server's.",
    ),
    method_with_names(
        c"set_hundred_continue_response_headers",
        set_continue_headers,
        c"Headers for the 100 Continue that the first read sends.",
    ),
    method(
        c"send_hundred_continue_response",
        send_continue,
        c"Sends 100 Continue now, if the client waits for it.",
    ),
];

/// The type of `wsgi.input`.
pub fn class(gil: Gil<'_>) -> Result<Class<Input>, Raised> {
    Class::new(
        gil,
        &Description {
            name: c"mod_wsgi.Input",
            doc: c"The body of a request.",
            methods: &METHODS,
            attributes: &[],
            iteration: Some(Iteration::by(next_line)),
        },
    )
}
