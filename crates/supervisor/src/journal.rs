//! An error log as the supervisor writes it: httpd's line format, and never a wait.
//!
//! The descriptors come from the Apache parent and are shared with all of httpd, so their flags
//! are not ours to change: a file or pipe is opened once more for ourselves, not blocking. What
//! cannot be written yet waits in a buffer with a bound; past that lines are dropped and counted,
//! and the count is written when there is room again. A full disk or a stopped log program slows
//! nothing down.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use os::poll::{poll, Wanted};
use wire::log_id::LOG_LINES_LOST;
use wire::response::Level;

/// Most bytes that wait to be written.
const MAX_WAITING: usize = 256 * 1024;
/// What a pipe takes without a wait once poll says it is writable (`PIPE_BUF`).
const ATOMIC_WRITE: usize = 4096;
/// Longest text of a line, before escaping.
pub const MAX_TEXT: usize = 8 * 1024;
/// Longest label before a text.
pub const MAX_LABEL: usize = 256;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Lines less severe than this are not written.
    pub threshold: Level,
    /// Whether a thread is named beside the process: httpd does so under threaded MPMs.
    pub threads: bool,
}

/// A handle on one log; clones write to the same.
#[derive(Debug, Clone)]
pub struct Journal {
    sink: Rc<Sink>,
    /// Lines less severe than this are not written by this handle.
    threshold: Level,
}

#[derive(Debug)]
struct Sink {
    file: File,
    /// The description is our own and never blocks.
    nonblocking: bool,
    style: Style,
    backlog: RefCell<Backlog>,
}

#[derive(Debug, Default)]
struct Backlog {
    waiting: VecDeque<u8>,
    /// Lines that found no room since the last one that did.
    dropped: u64,
}

impl Journal {
    /// A log at this descriptor.
    pub fn new(descriptor: OwnedFd, style: Style) -> Self {
        let own = os::descriptor::reopen_for_appending(descriptor.as_fd());
        Self {
            threshold: style.threshold,
            sink: Rc::new(Sink {
                nonblocking: own.is_ok(),
                file: own.unwrap_or(descriptor).into(),
                style,
                backlog: RefCell::default(),
            }),
        }
    }

    /// A handle with another threshold.
    pub fn with_threshold(&self, threshold: Level) -> Self {
        Self {
            sink: Rc::clone(&self.sink),
            threshold,
        }
    }

    /// Writes a record of the supervisor's own.
    pub fn note(&self, level: Level, text: &str) {
        self.write(level, os::process::id(), text.as_bytes());
    }

    /// Writes one line on behalf of a process; `text` is anybody's bytes.
    pub fn write(&self, level: Level, pid: u32, text: &[u8]) {
        let style = self.sink.style;
        if level > self.threshold {
            return;
        }
        let line = line(style, os::clock::epoch(), level, pid, text);
        let mut backlog = self.sink.backlog.borrow_mut();
        if backlog.waiting.len() + line.len() > MAX_WAITING {
            self.sink.flush(&mut backlog);
        }
        if backlog.waiting.len() + line.len() > MAX_WAITING {
            backlog.dropped += 1;
            return;
        }
        if backlog.dropped > 0 {
            let text = format!(
                "{LOG_LINES_LOST}: {} lines were lost because this log could not be written fast enough",
                std::mem::take(&mut backlog.dropped)
            );
            let (now, own) = (os::clock::epoch(), os::process::id());
            let told = self::line(style, now, Level::Warning, own, text.as_bytes());
            backlog.waiting.extend(told);
        }
        backlog.waiting.extend(line);
        self.sink.flush(&mut backlog);
    }

    /// Whether something waits for the log to become writable.
    pub fn is_waiting(&self) -> bool {
        !self.sink.backlog.borrow().waiting.is_empty()
    }

    /// Writes what waits, as far as it goes.
    pub fn flush(&self) {
        self.sink.flush(&mut self.sink.backlog.borrow_mut());
    }
}

impl AsFd for Journal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sink.file.as_fd()
    }
}

impl Sink {
    fn flush(&self, backlog: &mut Backlog) {
        while !backlog.waiting.is_empty() {
            let (front, _) = backlog.waiting.as_slices();
            let written = if self.nonblocking {
                (&self.file).write(front)
            } else {
                write_if_ready(&self.file, front)
            };
            match written {
                Ok(count @ 1..) => drop(backlog.waiting.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Nobody reads any more, or the disk is full: what waits is lost, and told if the
                // log recovers.
                Ok(0) | Err(_) => {
                    let lines = backlog.waiting.iter().filter(|&&b| b == b'\n').count();
                    backlog.dropped += lines as u64;
                    backlog.waiting.clear();
                }
            }
        }
    }
}

fn write_if_ready(mut file: &File, bytes: &[u8]) -> io::Result<usize> {
    let mut wanted = [Wanted::writable(file.as_fd())];
    if poll(&mut wanted, Some(Duration::ZERO))? == 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    file.write(&bytes[..bytes.len().min(ATOMIC_WRITE)])
}

/// One line of an error log in httpd's default format.
fn line(style: Style, at: Duration, level: Level, pid: u32, text: &[u8]) -> Vec<u8> {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let level = match level {
        Level::Critical => "crit",
        Level::Error => "error",
        Level::Warning => "warn",
        Level::Notice => "notice",
        Level::Info => "info",
        Level::Debug => "debug",
    };
    let local = os::clock::local(at);
    let mut head = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        head,
        "[{} {} {:02} {:02}:{:02}:{:02}.{:06} {}] [wsgi:{level}] [pid {pid}",
        DAYS[usize::from(local.weekday % 7)],
        MONTHS[usize::from(local.month % 12)],
        local.day,
        local.hour,
        local.minute,
        local.second,
        at.subsec_micros(),
        local.year,
    );
    if style.threads {
        let _ = write!(head, ":tid {pid}");
    }
    head.push_str("] ");
    let mut line = head.into_bytes();
    escape(&text[..text.len().min(MAX_LABEL + MAX_TEXT)], &mut line);
    line.push(b'\n');
    line
}

/// Writes text as httpd does: what is not printable ASCII becomes an escape, so that nobody can
/// forge a line or reach the terminal of who reads it.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for &byte in text {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b' '..=b'~' => out.push(byte),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x0b => out.extend_from_slice(b"\\v"),
            _ => {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                out.extend_from_slice(&[b'\\', b'x', HEX[high], HEX[low]]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const STYLE: Style = Style {
        threshold: Level::Notice,
        threads: true,
    };

    #[test]
    fn a_line_has_httpds_format() {
        let at = Duration::new(1_763_702_721, 123_456_789);
        let text = String::from_utf8(line(STYLE, at, Level::Error, 7, b"hi")).unwrap();
        let (date, rest) = text.split_at(text.find("] ").unwrap());
        assert_eq!(rest, "] [wsgi:error] [pid 7:tid 7] hi\n");
        assert!(date.ends_with(".123456 2025"), "{date}");
        assert_eq!(date.len(), "[Sat Nov 21 05:25:21.123456 2026".len());
        let style = Style {
            threads: false,
            ..STYLE
        };
        let text = String::from_utf8(line(style, at, Level::Warning, 7, b"hi")).unwrap();
        assert!(text.ends_with("] [wsgi:warn] [pid 7] hi\n"));
    }

    #[test]
    fn nothing_gets_through_that_could_forge_a_line() {
        let mut out = Vec::new();
        escape(b"a\nb\\c\t\x1b[0m\xc3\xa9\"", &mut out);
        assert_eq!(out, b"a\\nb\\\\c\\t\\x1b[0m\\xc3\\xa9\"");
    }

    #[test]
    fn a_log_that_is_not_read_costs_lines_but_no_wait() {
        let (reader, writer) = os::descriptor::pipe().unwrap();
        let journal = Journal::new(writer, STYLE);
        journal.note(Level::Info, "below the threshold");
        for _ in 0..1000 {
            journal.write(Level::Error, 1, &[b'x'; 4000]);
        }
        assert!(journal.is_waiting());
        let mut reader = File::from(reader);
        os::descriptor::set_blocking(reader.as_fd(), false).unwrap();
        let mut text = Vec::new();
        let mut drain = |text: &mut Vec<u8>| {
            for _ in 0..100 {
                let _ = reader.read_to_end(text);
                journal.flush();
            }
        };
        drain(&mut text);
        assert!(!journal.is_waiting());
        journal.write(Level::Error, 1, b"again");
        drain(&mut text);
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() < 1000 && !text.contains("below"));
        assert!(lines[lines.len() - 2].contains("WSGI0330: "));
        assert!(lines[lines.len() - 1].ends_with("again"));
    }

    #[test]
    fn a_log_without_a_reader_is_given_up_on_without_harm() {
        let (reader, writer) = os::descriptor::pipe().unwrap();
        drop(reader);
        let journal = Journal::new(writer, STYLE);
        journal.note(Level::Error, "nobody hears this");
        assert!(!journal.is_waiting());
    }
}
