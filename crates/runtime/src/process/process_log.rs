//! The log of the process: a pipe that the supervisor reads.
//!
//! Runs in: every thread, with the GIL released. The pipe may be full because the supervisor is
//! stuck; a record then waits a second at most, and lines are left out and counted, because no log
//! is worth a request. The pipe is also the process's standard output and error. Their flags are not
//! changed, because programs expect them to wait; the supervisor gives the worker the same pipe once
//! more, non-blocking, for what is written here.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::OnceLock;
use std::time::Duration;

use os::poll::{poll_uninterrupted, Wanted};
use os::write_now::{is_same, kind, write_now, ATOMIC};
use os::{clock, descriptor};
use wire::log_id::{LOG_TEXT_LOST, WORKER_DEFECT};
use wire::log_line;
use wire::response::Level;

use crate::process::scoreboard;

/// Where the supervisor has put the pipe for writes that do not wait.
const DESCRIPTOR: i32 = 6;
/// How long a record waits for a full pipe.
const PATIENCE: Duration = Duration::from_secs(1);

static LOG: LogPipe = LogPipe::new();

/// A pipe, and what could not be written to it.
struct LogPipe {
    /// Our own open file description. Without one, standard error is written to.
    own: OnceLock<File>,
    /// The pipe was full for [`PATIENCE`]; until it has room again nobody waits.
    is_stuck: AtomicBool,
    /// Lines left out since the pipe last had room.
    lost: AtomicU64,
    /// The last line that was written lacks its end.
    is_cut: AtomicBool,
}

/// Uses the descriptor that the supervisor has given, if it has.
pub fn open() {
    let standard_error = descriptor::standard_error();
    let own = descriptor::take_inherited(DESCRIPTOR).ok().filter(|own| {
        descriptor::is_nonblocking(own.as_fd()) && is_same(own.as_fd(), standard_error)
    });
    if let Some(own) = own {
        // A second call finds the first one's.
        let _ = LOG.own.set(own.into());
    }
}

/// Writes a record and a newline.
pub fn record(text: &[u8]) {
    LOG.record(text);
}

/// Whether lines were left out and [`tell_lost`] has not told so yet.
pub fn has_lost() -> bool {
    LOG.lost.load(Ordering::Relaxed) > 0
}

/// Logs how many lines were left out, if the pipe has room again.
pub fn tell_lost() {
    LOG.tell_lost();
}

impl LogPipe {
    const fn new() -> Self {
        Self {
            own: OnceLock::new(),
            is_stuck: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            is_cut: AtomicBool::new(false),
        }
    }

    fn record(&self, text: &[u8]) {
        self.tell_lost();
        let mut end = None;
        let is_whole = if text.len() < ATOMIC {
            let mut line = [0; ATOMIC];
            line[..text.len()].copy_from_slice(text);
            line[text.len()] = b'\n';
            self.put(&line[..=text.len()], &mut end)
        } else {
            self.put_pieces(text, &mut end)
        };
        if !is_whole {
            let more = text.iter().filter(|&&byte| byte == b'\n').count() as u64;
            self.lost.fetch_add(1 + more, Ordering::Relaxed);
        }
    }

    fn tell_lost(&self) {
        if self.lost.load(Ordering::Relaxed) == 0 {
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let line =
            format!("{LOG_TEXT_LOST}: {lost} lines of log were left out: nobody read them\n");
        // Its time is over before it begins.
        let is_told = lost == 0 || self.put(line.as_bytes(), &mut Some(Duration::ZERO));
        if !is_told {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// Writes a record that is longer than what a pipe takes in one piece.
    fn put_pieces(&self, text: &[u8], end: &mut Option<Duration>) -> bool {
        for (number, piece) in text.chunks(ATOMIC).enumerate() {
            if !self.put(piece, end) {
                self.is_cut.fetch_or(number > 0, Ordering::Relaxed);
                return false;
            }
        }
        if !self.put(b"\n", end) {
            self.is_cut.store(true, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Writes at most [`ATOMIC`] bytes. `end` is when to give up, once the record had to wait. False
    /// if not all of it was written.
    fn put(&self, piece: &[u8], end: &mut Option<Duration>) -> bool {
        if self.is_cut.load(Ordering::Relaxed) && self.is_cut.swap(false, Ordering::Relaxed) {
            let is_whole = self.put_all(b"\n", end);
            self.is_cut.fetch_or(!is_whole, Ordering::Relaxed);
            if !is_whole {
                return false;
            }
        }
        self.put_all(piece, end)
    }

    fn put_all(&self, piece: &[u8], end: &mut Option<Duration>) -> bool {
        let mut rest = piece;
        while !rest.is_empty() {
            match self.write(rest) {
                Ok(written @ 1..) => {
                    rest = &rest[written..];
                    self.is_stuck.store(false, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.wait(end) => {}
                Ok(0) | Err(_) => {
                    self.is_cut
                        .fetch_or(rest.len() < piece.len(), Ordering::Relaxed);
                    return false;
                }
            }
        }
        true
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.own.get() {
            Some(mut own) => own.write(bytes),
            None => {
                let standard_error = descriptor::standard_error();
                write_now(standard_error, kind(standard_error), bytes)
            }
        }
    }

    /// Waits until there is room. False if the time is over.
    fn wait(&self, end: &mut Option<Duration>) -> bool {
        if self.is_stuck.load(Ordering::Relaxed) {
            return false;
        }
        let now = clock::monotonic();
        let left = end.get_or_insert(now + PATIENCE).saturating_sub(now);
        let pipe = match self.own.get() {
            Some(own) => own.as_fd(),
            None => descriptor::standard_error(),
        };
        let has_room = !left.is_zero()
            && poll_uninterrupted(&mut [Wanted::writable(pipe)], Some(left)).is_ok_and(|n| n > 0);
        if !has_room && *end != Some(Duration::ZERO) {
            self.is_stuck.store(true, Ordering::Relaxed);
        }
        has_room
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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Barrier;

    use super::*;

    fn pipe() -> (File, LogPipe) {
        let (reader, writer) = descriptor::pipe().unwrap();
        descriptor::set_nonblocking(reader.as_fd()).unwrap();
        let log = LogPipe::new();
        let own = descriptor::reopen_for_appending(writer.as_fd()).unwrap();
        log.own.set(own.into()).unwrap();
        (reader.into(), log)
    }

    fn all(mut reader: &File) -> String {
        let mut text = Vec::new();
        let _ = reader.read_to_end(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn no_thread_waits_longer_than_its_time_for_a_pipe_that_is_not_read() {
        let (reader, log) = pipe();
        let (threads, records) = (8, 40);
        let start = Barrier::new(threads);
        let begun = clock::monotonic();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..records {
                        log.record(&[b'x'; 4000]);
                    }
                });
            }
        });
        assert!(clock::monotonic() - begun < 3 * PATIENCE);
        let lost = log.lost.load(Ordering::Relaxed);
        let text = all(&reader);
        assert_eq!(
            text.lines().count() as u64 + lost,
            (threads * records) as u64
        );
        log.tell_lost();
        assert_eq!(
            all(&reader),
            format!("WSGI0317: {lost} lines of log were left out: nobody read them\n")
        );
    }

    #[test]
    fn a_long_record_has_no_more_time_than_a_short_one_and_what_follows_it_is_a_line_of_its_own() {
        let (reader, log) = pipe();
        let begun = clock::monotonic();
        let done = AtomicBool::new(false);
        let mut text = String::new();
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                // A minute for all of it, at the reader's pace.
                log.record(&vec![b'x'; 4096 * 600]);
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) && clock::monotonic() - begun < 5 * PATIENCE {
                let mut page = [0; ATOMIC];
                let count = (&reader).read(&mut page).unwrap_or(0);
                text += std::str::from_utf8(&page[..count]).unwrap();
                std::thread::sleep(PATIENCE / 10);
            }
            if !done.load(Ordering::Relaxed) {
                while !writing.is_finished() {
                    text += &all(&reader);
                }
            }
        });
        assert!(clock::monotonic() - begun < 3 * PATIENCE);
        text += &all(&reader);
        log.record(b"next");
        text += &all(&reader);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].bytes().all(|byte| byte == b'x'));
        assert!(lines[1].starts_with("WSGI0317: 1 lines"), "{}", lines[1]);
        assert_eq!(lines[2..], ["next"]);
    }
}
