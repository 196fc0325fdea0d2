//! The module `_mod_wsgi.native`: what the Python parts ask of this crate.
//!
//! Runs in: any thread of the application. A thread that serves a request has it in [`CURRENT`];
//! what others print goes to the log of the process.

use std::cell::RefCell;
use std::sync::Arc;

use pyo3::ffi;
use wire::response::{Level, MAX_LOG_TEXT};

use super::start_response::interim;
use crate::exchange::log_lines::Lines;
use crate::exchange::response::{Output, Refusal, COPY_LIMIT};
use crate::exchange::Exchange;
use crate::process::fork::{self, Moment};
use crate::process::process_log;
use crate::python::object::{Exception, Gil, Object, Raised};
use crate::python::types::{self, Arguments, Table};
use crate::worker::service;

/// The request that a thread serves.
struct Current {
    exchange: Arc<Exchange>,
    /// The request's `request_data` dict, borrowed from the frame that serves the request.
    data: *mut ffi::PyObject,
    /// The request's id, borrowed likewise; null where it has none.
    id: *mut ffi::PyObject,
}

/// Partial lines of a thread without request.
struct Partial(Lines);

impl Drop for Partial {
    fn drop(&mut self) {
        self.0.flush(process_log::record);
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
    static PARTIAL: RefCell<Partial> = const { RefCell::new(Partial(Lines::new())) };
}

/// While it lives, this thread serves the request.
pub struct Serving(());

impl Serving {
    /// # Safety
    /// `data` and `id` outlive the value.
    pub unsafe fn begin(exchange: &Arc<Exchange>, data: &Object, id: Option<&Object>) -> Self {
        CURRENT.with(|current| {
            *current.borrow_mut() = Some(Current {
                exchange: Arc::clone(exchange),
                data: data.as_ptr(),
                id: id.map_or(std::ptr::null_mut(), Object::as_ptr),
            });
        });
        Self(())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        CURRENT.with(|current| current.borrow_mut().take());
    }
}

fn current() -> Option<Arc<Exchange>> {
    if fork::happened() {
        return None;
    }
    CURRENT.with(|current| {
        let current = current.borrow();
        current.as_ref().map(|c| Arc::clone(&c.exchange))
    })
}

/// The `request_data` dict of the request this thread serves.
pub fn current_data(gil: Gil<'_>) -> Option<Object> {
    let data = CURRENT.with(|current| current.borrow().as_ref().map(|c| c.data));
    // SAFETY: the dict is live while `CURRENT` names it.
    data.map(|data| unsafe { gil.share(data) })
}

/// The id of the request this thread serves; None where there is none.
pub fn current_id(gil: Gil<'_>) -> Object {
    let id = CURRENT.with(|current| current.borrow().as_ref().map(|c| c.id));
    match id.filter(|id| !id.is_null()) {
        // SAFETY: the id is live while `CURRENT` names it.
        Some(id) => unsafe { gil.share(id) },
        None => gil.none(),
    }
}

/// Runs `body` on the answer; without the GIL where another thread is at it.
pub fn with_output<R: Send>(
    gil: Gil<'_>,
    exchange: &Exchange,
    body: impl FnOnce(&mut Output) -> R + Send,
) -> R {
    if let Some(mut output) = exchange.try_output() {
        return body(&mut output);
    }
    gil.released(|| body(&mut exchange.wait_output()))
}

/// Runs `body` on the answer, and sends what it has collected there: at once, or without the GIL
/// where that has to be waited for or another thread is at the answer.
pub fn send_output<R: Send>(
    gil: Gil<'_>,
    exchange: &Exchange,
    body: impl FnOnce(&mut Output) -> R + Send,
) -> R {
    let Some(mut output) = exchange.try_output() else {
        return gil.released(|| {
            let mut output = exchange.wait_output();
            let result = body(&mut output);
            output.flush();
            result
        });
    };
    let result = body(&mut output);
    let done = output.flush_at_once();
    drop(output);
    if !done {
        gil.released(|| exchange.wait_output().flush());
    }
    result
}

/// Sends bytes of the body now, and the head before them.
pub fn send_data(gil: Gil<'_>, exchange: &Exchange, bytes: &[u8]) -> Result<(), Refusal> {
    let head = exchange.facts.head;
    if bytes.len() > COPY_LIMIT {
        return gil.released(|| {
            let mut output = exchange.wait_output();
            output.begin(head)?;
            output.data_now(bytes)
        });
    }
    send_collected(gil, exchange, |output| {
        output.begin(head).map(|()| output.data(bytes))
    })
}

/// [`send_output`], and how it went.
pub fn send_collected(
    gil: Gil<'_>,
    exchange: &Exchange,
    body: impl FnOnce(&mut Output) -> Result<(), Refusal> + Send,
) -> Result<(), Refusal> {
    send_output(gil, exchange, body)?;
    with_output(gil, exchange, |output| output.sent())
}

/// Prints on behalf of a request; complete lines are sent at once.
pub fn print(gil: Gil<'_>, exchange: &Exchange, text: &[u8]) {
    if fork::happened() {
        return print_without_request(gil, text);
    }
    let print = |output: &mut Output| output.print(text);
    let lost = match text.ends_with(b"\n") {
        true => send_output(gil, exchange, print),
        false => with_output(gil, exchange, print),
    };
    if let Err(records) = lost {
        gil.released(|| records.iter().for_each(|r| process_log::record(r)));
    }
}

fn print_without_request(gil: Gil<'_>, text: &[u8]) {
    gil.released(|| {
        PARTIAL.with(|partial| partial.borrow_mut().0.write(text, process_log::record));
    });
}

/// Makes records of partial lines.
pub fn flush(gil: Gil<'_>, exchange: &Exchange) {
    if fork::happened() {
        return;
    }
    if let Some(record) = send_output(gil, exchange, |output| output.flush_lines()) {
        gil.released(|| process_log::record(&record));
    }
}

unsafe extern "C" fn write(
    _: *mut ffi::PyObject,
    items: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, with the GIL and the arguments of METH_FASTCALL.
    unsafe {
        types::enter_object("write", |gil| {
            let arguments = Arguments::new(items, count);
            arguments.expect(gil, "write", 1..=1)?;
            let data = arguments.get(gil, 0);
            let bytes = data.as_ref().and_then(Object::as_bytes);
            let bytes = bytes.ok_or_else(|| gil.raise(Exception::Type, "bytes are expected"))?;
            match current() {
                Some(exchange) => print(gil, &exchange, bytes),
                None => print_without_request(gil, bytes),
            }
            Ok(gil.none())
        })
    }
}

unsafe extern "C" fn flush_streams(
    _: *mut ffi::PyObject,
    _: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, with the GIL.
    unsafe {
        types::enter_object("flush", |gil| {
            match current() {
                Some(exchange) => flush(gil, &exchange),
                None => gil.released(|| {
                    PARTIAL.with(|partial| partial.borrow_mut().0.flush(process_log::record));
                }),
            }
            Ok(gil.none())
        })
    }
}

/// Sends a record of a level of its own, to the request's log or the process's.
pub fn log(gil: Gil<'_>, level: Level, text: &[u8]) {
    let exchange = current();
    gil.released(|| {
        if let Some(exchange) = &exchange {
            let mut output = exchange.wait_output();
            let mut pieces = text.chunks(MAX_LOG_TEXT);
            if pieces.all(|piece| output.log(level, piece).is_ok()) {
                output.flush();
                return;
            }
        }
        process_log::record_at(level, text);
    });
}

unsafe extern "C" fn log_record(
    _: *mut ffi::PyObject,
    items: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, with the GIL and the arguments of METH_FASTCALL.
    unsafe {
        types::enter_object("log", |gil| {
            let arguments = Arguments::new(items, count);
            arguments.expect(gil, "log", 2..=2)?;
            if let (Some(level), Some(text)) = (arguments.get(gil, 0), arguments.get(gil, 1)) {
                let level = u8::try_from(level.to_int(gil)?).unwrap_or_default();
                let level = Level::from_u8(level).unwrap_or(Level::Error);
                let text = text.to_utf8(gil)?;
                log(gil, level, text.as_bytes().unwrap_or_default());
            }
            Ok(gil.none())
        })
    }
}

unsafe extern "C" fn request_data(
    _: *mut ffi::PyObject,
    _: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, with the GIL.
    unsafe {
        types::enter_object("request_data", |gil| {
            current_data(gil).ok_or_else(|| {
                gil.raise(
                    Exception::Runtime,
                    "request_data() can be used only by the thread that serves a request",
                )
            })
        })
    }
}

/// The request of the calling thread, for the function `name`.
fn serving(gil: Gil<'_>, name: &str) -> Result<Arc<Exchange>, Raised> {
    current().ok_or_else(|| {
        let text = format!("{name}() can be used only by the thread that serves a request");
        gil.raise(Exception::Runtime, &text)
    })
}

unsafe extern "C" fn client_disconnected(
    _: *mut ffi::PyObject,
    _: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, with the GIL.
    unsafe {
        types::enter_object("client_disconnected", |gil| {
            let exchange = serving(gil, "client_disconnected")?;
            Ok(gil.boolean(exchange.client_has_left()))
        })
    }
}

unsafe extern "C" fn send_interim(
    _: *mut ffi::PyObject,
    items: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, with the GIL and the arguments of METH_FASTCALL.
    unsafe {
        types::enter_object("send_interim", |gil| {
            let arguments = Arguments::new(items, count);
            arguments.expect(gil, "send_interim", 2..=2)?;
            let exchange = serving(gil, "send_interim")?;
            let status = match arguments.get(gil, 0) {
                Some(status) => status.to_int(gil)?,
                None => 0,
            };
            let headers = arguments.get(gil, 1).unwrap_or_else(|| gil.none());
            let status = u16::try_from(status).unwrap_or_default();
            let sent = interim(gil, &exchange, "send_interim()", status, &headers)?;
            Ok(gil.boolean(sent))
        })
    }
}

unsafe extern "C" fn forked(
    _: *mut ffi::PyObject,
    _: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, with the GIL.
    unsafe {
        types::enter_object("forked", |gil| {
            fork::note(Moment::Inside);
            Ok(gil.none())
        })
    }
}

unsafe extern "C" fn forks(
    _: *mut ffi::PyObject,
    _: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, with the GIL.
    unsafe {
        types::enter_object("forks", |gil| {
            fork::note(Moment::Around);
            Ok(gil.none())
        })
    }
}

unsafe extern "C" fn ending(
    _: *mut ffi::PyObject,
    _: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, with the GIL.
    unsafe {
        types::enter_object("ending", |gil| {
            service::note_ending();
            Ok(gil.none())
        })
    }
}

const COUNT: usize = 9;

static METHODS: Table<[ffi::PyMethodDef; COUNT]> = Table::new([
    types::method(
        c"write",
        write,
        c"Prints bytes where the calling thread's log is.",
    ),
    types::method(
        c"flush",
        flush_streams,
        c"Makes a record of a partial line.",
    ),
    types::method(c"log", log_record, c"Logs a record: level, text."),
    types::method(
        c"forked",
        forked,
        c"Called in a process that the application forked.",
    ),
    types::method(
        c"forks",
        forks,
        c"Called before the application forks, and after.",
    ),
    types::method(
        c"ending",
        ending,
        c"Called when SIGTERM has reached a service process.",
    ),
    types::method(
        c"client_disconnected",
        client_disconnected,
        c"Whether the client of this thread's request has left.",
    ),
    types::method(
        c"send_interim",
        send_interim,
        c"Sends an interim response: status, headers.",
    ),
    types::method(
        c"request_data",
        request_data,
        c"The dict of the request this thread serves.",
    ),
]);

/// A new module object for the current interpreter.
pub fn module(gil: Gil<'_>) -> Result<Object, Raised> {
    // SAFETY: the name is a C string; each function has METH_FASTCALL's signature, ignores its
    // first argument, and its table is static.
    unsafe {
        let module = gil.own(ffi::PyModule_New(c"_mod_wsgi.native".as_ptr()))?;
        let table = METHODS.as_ptr().cast::<ffi::PyMethodDef>();
        for i in 0..COUNT {
            let method = table.add(i);
            let function = gil.own(ffi::PyCFunction_NewEx(
                method,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            ))?;
            let name = std::ffi::CStr::from_ptr((*method).ml_name);
            module.set_attr(gil, name, &function)?;
        }
        Ok(module)
    }
}
