//! The module `_mod_wsgi.native`: functions of this crate that the adapter's Python code calls.
//!
//! Runs in: any thread of the application.

use std::sync::Arc;

use wire::response::{Level, MAX_LOG_TEXT};

use super::current::{self, current, flush, flush_without_request, print, print_without_request};
use super::metrics::{process_metrics, request_metrics, start_recording};
use super::response_headers::interim;
use crate::exchange::Exchange;
use crate::process::fork::{self, Moment};
use crate::process::{process_log, termination};
use crate::python;
use crate::python::function::{function, Arguments, Function};
use crate::python::gil::{Exception, Gil, PyResult, Raised};
use crate::python::object::Object;

fn write<'g>(gil: Gil<'g>, arguments: Arguments<'_, 'g>) -> PyResult<'g> {
    arguments.expect(gil, "write", 1..=1)?;
    let data = arguments.get(0);
    let bytes = data.and_then(Object::as_bytes);
    let bytes = bytes.ok_or_else(|| gil.raise(Exception::Type, "bytes are expected"))?;
    match current() {
        Some(exchange) => print(gil, &exchange, bytes),
        None => print_without_request(gil, bytes),
    }
    Ok(gil.none())
}

fn flush_streams<'g>(gil: Gil<'g>, _arguments: Arguments<'_, 'g>) -> PyResult<'g> {
    match current() {
        Some(exchange) => flush(gil, &exchange),
        None => flush_without_request(gil),
    }
    Ok(gil.none())
}

/// Logs a record with its level, in the request's log or the process's.
pub fn log(gil: Gil<'_>, level: Level, text: &[u8]) {
    let exchange = current();
    gil.released(|| {
        if let Some(exchange) = &exchange {
            let mut response = exchange.wait_response();
            let mut pieces = text.chunks(MAX_LOG_TEXT);
            if pieces.all(|piece| response.log(level, piece).is_ok()) {
                response.flush();
                return;
            }
        }
        process_log::record_at(level, text);
    });
}

fn log_record<'g>(gil: Gil<'g>, arguments: Arguments<'_, 'g>) -> PyResult<'g> {
    arguments.expect(gil, "log", 2..=2)?;
    if let (Some(level), Some(text)) = (arguments.get(0), arguments.get(1)) {
        let level = u8::try_from(level.to_int()?).unwrap_or_default();
        let level = Level::from_u8(level).unwrap_or(Level::Error);
        let text = text.to_utf8()?;
        log(gil, level, text.as_bytes().unwrap_or_default());
    }
    Ok(gil.none())
}

fn request_data<'g>(gil: Gil<'g>, _arguments: Arguments<'_, 'g>) -> PyResult<'g> {
    current::request_data(gil).ok_or_else(|| {
        gil.raise(
            Exception::Runtime,
            "request_data() can be used only by the thread that serves a request",
        )
    })
}

/// The request of the calling thread, for the function `name`.
fn serving(gil: Gil<'_>, name: &str) -> Result<Arc<Exchange>, Raised> {
    current().ok_or_else(|| {
        let text = format!("{name}() can be used only by the thread that serves a request");
        gil.raise(Exception::Runtime, &text)
    })
}

fn client_disconnected<'g>(gil: Gil<'g>, _arguments: Arguments<'_, 'g>) -> PyResult<'g> {
    let exchange = serving(gil, "client_disconnected")?;
    Ok(gil.boolean(exchange.client_has_left()))
}

fn send_interim<'g>(gil: Gil<'g>, arguments: Arguments<'_, 'g>) -> PyResult<'g> {
    arguments.expect(gil, "send_interim", 2..=2)?;
    let exchange = serving(gil, "send_interim")?;
    let status = match arguments.get(0) {
        Some(status) => status.to_int()?,
        None => 0,
    };
    let headers = arguments.get_or_none(gil, 1);
    let status = u16::try_from(status).unwrap_or_default();
    let sent = interim(gil, &exchange, "send_interim()", status, &headers)?;
    Ok(gil.boolean(sent))
}

fn forked<'g>(gil: Gil<'g>, _arguments: Arguments<'_, 'g>) -> PyResult<'g> {
    fork::note(Moment::Inside);
    Ok(gil.none())
}

fn forks<'g>(gil: Gil<'g>, _arguments: Arguments<'_, 'g>) -> PyResult<'g> {
    fork::note(Moment::Around);
    Ok(gil.none())
}

fn ending<'g>(gil: Gil<'g>, _arguments: Arguments<'_, 'g>) -> PyResult<'g> {
    termination::note_sigterm();
    Ok(gil.none())
}

static FUNCTIONS: [Function; 12] = [
    function(
        c"write",
        write,
        c"Prints bytes where the calling thread's log is.",
    ),
    function(
        c"flush",
        flush_streams,
        c"Makes a record of a partial line.",
    ),
    function(c"log", log_record, c"Logs a record: level, text."),
    function(
        c"forked",
        forked,
        c"Called in a process that the application forked.",
    ),
    function(
        c"forks",
        forks,
        c"Called before the application forks, and after.",
    ),
    function(
        c"ending",
        ending,
        c"Called when SIGTERM has reached a service process.",
    ),
    function(
        c"client_disconnected",
        client_disconnected,
        c"Whether the client of this thread's request has left.",
    ),
    function(
        c"send_interim",
        send_interim,
        c"Sends an interim response: status, headers.",
    ),
    function(
        c"request_data",
        request_data,
        c"The dict of the request this thread serves.",
    ),
    function(
        c"start_recording",
        start_recording,
        c"Begins to record metrics: number of request threads.",
    ),
    function(
        c"request_metrics",
        request_metrics,
        c"Metrics of the requests since the last call.",
    ),
    function(
        c"process_metrics",
        process_metrics,
        c"Metrics of the process: number of request threads.",
    ),
];

/// A new module object for the current interpreter.
pub fn module(gil: Gil<'_>) -> PyResult<'_> {
    python::module::module(gil, c"_mod_wsgi.native", &FUNCTIONS)
}
