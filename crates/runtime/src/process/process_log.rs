//! The log of the process: descriptor 2, which the supervisor reads.
//!
//! Runs in: every thread, with the GIL released. The pipe may be full because the supervisor is
//! stuck; a thread then waits a second at most, and text is left out and counted, because no log is
//! worth a request. Each write is at most [`ATOMIC`] bytes, which a pipe that has room takes whole
//! and without mixing it with those of other threads.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use os::descriptor::write_to_standard_error;
use os::poll::{poll_uninterrupted, Wanted};
use wire::log_id::{LOG_BYTES_LOST, WORKER_DEFECT};
use wire::log_line;
use wire::response::Level;

use crate::process::scoreboard;

/// Bytes that a pipe takes in one piece: PIPE_BUF.
const ATOMIC: usize = 4096;
/// How long a full pipe is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The pipe was full for [`PATIENCE`]; until it has room again nobody waits.
static STUCK: AtomicBool = AtomicBool::new(false);
/// Bytes left out since the pipe last had room.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// Writes a record and a newline.
pub fn record(text: &[u8]) {
    let lost = LEFT_OUT.load(Ordering::Relaxed);
    if lost > 0 && has_room() {
        LEFT_OUT.fetch_sub(lost, Ordering::Relaxed);
        put(
            format!("{LOG_BYTES_LOST}: {lost} bytes of log were left out: nobody read them\n")
                .as_bytes(),
        );
    }
    if text.len() < ATOMIC {
        let mut line = [0; ATOMIC];
        line[..text.len()].copy_from_slice(text);
        line[text.len()] = b'\n';
        put(&line[..=text.len()]);
    } else {
        put(text);
        put(b"\n");
    }
}

fn has_room() -> bool {
    let stderr = io::stderr();
    let limit = if STUCK.load(Ordering::Relaxed) {
        Duration::ZERO
    } else {
        PATIENCE
    };
    let mut wanted = [Wanted::writable(stderr.as_fd())];
    let room = matches!(poll_uninterrupted(&mut wanted, Some(limit)), Ok(n) if n > 0);
    STUCK.store(!room, Ordering::Relaxed);
    room
}

fn put(bytes: &[u8]) {
    for piece in bytes.chunks(ATOMIC) {
        let written = match has_room() {
            true => write_to_standard_error(piece).unwrap_or(0),
            false => 0,
        };
        LEFT_OUT.fetch_add((piece.len() - written) as u64, Ordering::Relaxed);
    }
}

/// Writes a record of a level of its own; [`record`]'s are errors.
pub fn record_at(level: Level, text: &[u8]) {
    match log_line::mark(level) {
        None => record(text),
        Some(mark) => {
            let lines: Vec<_> = text
                .split(|&byte| byte == b'\n')
                .map(|line| [&mark[..], line].concat())
                .collect();
            record(&lines.join(&b'\n'));
        }
    }
}

/// Logs an error of this adapter, and shows its number on the scoreboard.
pub fn error(text: &str) {
    scoreboard::error(text);
    record(text.as_bytes());
}

/// [`error`] for what a peer can cause: once a second at most, the others are dropped.
pub fn error_at_times(text: &str) {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = os::clock::monotonic_ms() / 1000 + 1;
    if LAST.swap(now, Ordering::Relaxed) != now {
        error(text);
    }
}

/// Puts one line into the log for each panic, in place of the standard library's several.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        let words = panic
            .payload()
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.payload().downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        error(&format!("{WORKER_DEFECT}: internal error{place}: {words}"));
    }));
}
