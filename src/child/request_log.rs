//! A request's lines in the error log.
//!
//! Runs in: an Apache child, on the thread that serves the request.

use std::sync::{Mutex, PoisonError};

use config::error::show;
use httpd::log::{self, Log};
use httpd::request::Request;
use wire::response::Level;

/// Bytes of text in one line of the error log; httpd cuts at about 8 KiB, our prefix included.
const LINE: usize = 7000;

/// Writes to the request's error log, behind the script's name. Each line of the text becomes a
/// line of the log, so that a traceback is there whole however long it is: httpd would write a
/// newline as two characters and cut after 8 KiB.
pub fn write_log(request: Request<'_>, level: Level, text: &[u8]) {
    write_at(request, log::Level::from_number(level as i32), text);
}

/// As [`write_log`], at any of httpd's levels.
pub fn write_at(request: Request<'_>, level: log::Level, text: &[u8]) {
    write_behind(request, request.filename().unwrap_or_default(), level, text);
}

/// As [`write_log`], behind the name of another script than the one the request leads to.
pub fn write_log_of(request: Request<'_>, script: &[u8], level: Level, text: &[u8]) {
    write_behind(request, script, log::Level::from_number(level as i32), text);
}

fn write_behind(request: Request<'_>, script: &[u8], level: log::Level, text: &[u8]) {
    if !request.logs(level) {
        return;
    }
    let mut line = Vec::with_capacity(256);
    line.extend_from_slice(b"[script ");
    line.extend_from_slice(show(script).as_bytes());
    line.extend_from_slice(b"] ");
    let prefix = line.len();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    // Keeps the lines of one record together while other threads of this process log.
    static PIECE: Mutex<()> = Mutex::new(());
    let _together = text
        .contains(&b'\n')
        .then(|| PIECE.lock().unwrap_or_else(PoisonError::into_inner));
    for whole in text.split(|&byte| byte == b'\n') {
        for piece in pieces(whole) {
            line.truncate(prefix);
            // httpd escapes the other control characters itself, but ends at a NUL byte.
            for &byte in piece {
                match byte {
                    0 => line.extend_from_slice(b"<NUL>"),
                    _ => line.push(byte),
                }
            }
            request.log_words(level, &line);
        }
    }
}

/// Splits a line into pieces that fit into one log line each; at least one, which may be empty.
fn pieces(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let empty: &[u8] = &[];
    let first = line.is_empty().then_some(empty);
    first.into_iter().chain(line.chunks(LINE))
}
