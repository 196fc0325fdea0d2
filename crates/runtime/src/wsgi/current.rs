//! The request that the calling thread serves, and what is printed on a request's behalf.
//!
//! Runs in: any thread of the application. What threads print that serve no request goes to the log
//! of the process.

use std::cell::RefCell;
use std::sync::Arc;

use super::send::{send_response, with_response};
use crate::exchange::log_lines::LogLines;
use crate::exchange::response::Response;
use crate::exchange::Exchange;
use crate::process::{fork, process_log};
use crate::python::gil::Gil;
use crate::python::object::{Object, Stored};

/// The request that a thread serves.
struct Current {
    exchange: Arc<Exchange>,
    /// The request's `request_data` dict.
    data: Stored,
    /// The request's id, if it has one.
    id: Option<Stored>,
}

/// Partial lines of a thread without request.
struct Partial(LogLines);

impl Drop for Partial {
    fn drop(&mut self) {
        self.0.flush(process_log::record);
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
    static PARTIAL: RefCell<Partial> = const { RefCell::new(Partial(LogLines::new())) };
}

/// While it lives, this thread serves the request.
pub struct Serving<'g>(Gil<'g>);

impl<'g> Serving<'g> {
    pub fn begin(
        gil: Gil<'g>,
        exchange: &Arc<Exchange>,
        data: &Object<'g>,
        id: Option<&Object<'g>>,
    ) -> Self {
        let stored = |object: &Object<'g>| Stored::new(gil, object.clone_ref());
        let current = Current {
            exchange: Arc::clone(exchange),
            data: stored(data),
            id: id.map(stored),
        };
        CURRENT.set(Some(current));
        Self(gil)
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if let Some(current) = CURRENT.take() {
            current.data.release(self.0);
            if let Some(id) = current.id {
                id.release(self.0);
            }
        }
    }
}

/// The request this thread serves; `None` in a process that the application forked.
pub fn current() -> Option<Arc<Exchange>> {
    if fork::happened() {
        return None;
    }
    CURRENT.with(|current| {
        let current = current.borrow();
        current.as_ref().map(|c| Arc::clone(&c.exchange))
    })
}

/// The `request_data` dict of the request this thread serves.
pub fn request_data(gil: Gil<'_>) -> Option<Object<'_>> {
    CURRENT.with_borrow(|current| Some(current.as_ref()?.data.bind(gil).clone_ref()))
}

/// The id of the request this thread serves; None where there is none.
pub fn request_id(gil: Gil<'_>) -> Object<'_> {
    CURRENT.with_borrow(|current| {
        let id = current.as_ref().and_then(|current| current.id.as_ref());
        id.map_or_else(|| gil.none(), |id| id.bind(gil).clone_ref())
    })
}

/// Prints on behalf of a request; complete lines are sent at once.
pub fn print(gil: Gil<'_>, exchange: &Exchange, text: &[u8]) {
    if fork::happened() {
        return print_without_request(gil, text);
    }
    let print = |response: &mut Response| response.print(text);
    let lost = match text.ends_with(b"\n") {
        true => send_response(gil, exchange, print),
        false => with_response(gil, exchange, print),
    };
    if let Err(records) = lost {
        gil.released(|| records.iter().for_each(|r| process_log::record(r)));
    }
}

/// Prints on behalf of no request.
pub fn print_without_request(gil: Gil<'_>, text: &[u8]) {
    gil.released(|| {
        PARTIAL.with(|partial| partial.borrow_mut().0.write(text, process_log::record));
    });
}

/// Makes records of partial lines.
pub fn flush(gil: Gil<'_>, exchange: &Exchange) {
    if fork::happened() {
        return;
    }
    // Every request ends with this, and what it has collected of its response leaves with its end:
    // httpd answers ranges of a file only where both come together.
    let is_idle = exchange
        .try_response()
        .is_some_and(|response| !response.has_partial_line());
    if is_idle {
        return;
    }
    if let Some(record) = send_response(gil, exchange, |response| response.flush_lines()) {
        gil.released(|| process_log::record(&record));
    }
}

/// Makes a record of the partial line of a thread without request.
pub fn flush_without_request(gil: Gil<'_>) {
    gil.released(|| {
        PARTIAL.with(|partial| partial.borrow_mut().0.flush(process_log::record));
    });
}
