//! Sending parts of a response from threads that hold the GIL: it is released wherever that waits.
//!
//! Runs in: threads of the application.

use wire::response::Level;

use crate::exchange::response::{Output, Refusal, COPY_LIMIT};
use crate::exchange::Exchange;
use crate::process::{process_log, scoreboard};
use crate::python::gil::Gil;

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

/// A record in the request's log; in the process's where nobody would get it.
pub fn log(gil: Gil<'_>, exchange: &Exchange, level: Level, text: &str) {
    scoreboard::error(text);
    let taken = with_output(gil, exchange, |output| {
        // Longer ones go in pieces, none of which tears a character.
        let mut rest = text;
        while !rest.is_empty() {
            let mut cut = rest.len().min(wire::response::MAX_LOG_TEXT);
            while !rest.is_char_boundary(cut) {
                cut -= 1;
            }
            let (piece, tail) = rest.split_at(cut);
            output.log(level, piece.as_bytes())?;
            rest = tail;
        }
        Ok::<_, Refusal>(())
    });
    if taken.is_err() {
        gil.released(|| process_log::say(text));
    }
}
