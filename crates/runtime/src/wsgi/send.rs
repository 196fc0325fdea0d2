//! Sending parts of a response from threads that hold the GIL: it is released wherever that waits.
//!
//! Runs in: threads of the application.

use wire::response::Level;

use crate::exchange::response::{Response, SendError, COPY_LIMIT};
use crate::exchange::Exchange;
use crate::process::{process_log, scoreboard};
use crate::python::gil::Gil;

/// Runs `body` on the response; without the GIL if another thread holds its lock.
pub fn with_response<R: Send>(
    gil: Gil<'_>,
    exchange: &Exchange,
    body: impl FnOnce(&mut Response) -> R + Send,
) -> R {
    if let Some(mut response) = exchange.try_response() {
        return body(&mut response);
    }
    gil.released(|| body(&mut exchange.wait_response()))
}

/// Runs `body` on the response, and sends what it has collected: at once, or without the GIL if
/// that has to wait or another thread holds the lock.
pub fn send_response<R: Send>(
    gil: Gil<'_>,
    exchange: &Exchange,
    body: impl FnOnce(&mut Response) -> R + Send,
) -> R {
    let Some(mut response) = exchange.try_response() else {
        return gil.released(|| {
            let mut response = exchange.wait_response();
            let result = body(&mut response);
            response.flush();
            result
        });
    };
    let result = body(&mut response);
    let done = response.flush_at_once();
    drop(response);
    if !done {
        gil.released(|| exchange.wait_response().flush());
    }
    result
}

/// Sends bytes of the body now, and the head before them.
pub fn send_data(gil: Gil<'_>, exchange: &Exchange, bytes: &[u8]) -> Result<(), SendError> {
    let head = exchange.facts.head;
    if bytes.len() > COPY_LIMIT {
        return gil.released(|| {
            let mut response = exchange.wait_response();
            response.begin(head)?;
            response.data_now(bytes)
        });
    }
    send_collected(gil, exchange, |response| {
        response.begin(head).map(|()| response.data(bytes))
    })
}

/// [`send_response`], and how it went.
pub fn send_collected(
    gil: Gil<'_>,
    exchange: &Exchange,
    body: impl FnOnce(&mut Response) -> Result<(), SendError> + Send,
) -> Result<(), SendError> {
    send_response(gil, exchange, body)?;
    with_response(gil, exchange, |response| response.sent())
}

/// Logs a record in the request's log; in the process's log if it would not arrive there.
pub fn log(gil: Gil<'_>, exchange: &Exchange, level: Level, text: &str) {
    scoreboard::error(text);
    let logged = with_response(gil, exchange, |response| {
        // Longer ones go in pieces, cut between characters.
        let mut rest = text;
        while !rest.is_empty() {
            let mut cut = rest.len().min(wire::response::MAX_LOG_TEXT);
            while !rest.is_char_boundary(cut) {
                cut -= 1;
            }
            let (piece, tail) = rest.split_at(cut);
            response.log(level, piece.as_bytes())?;
            rest = tail;
        }
        Ok::<_, SendError>(())
    });
    if logged.is_err() {
        gil.released(|| process_log::error(text));
    }
}
