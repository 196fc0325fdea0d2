//! Writes error logs in httpd's line format, without ever blocking.
//!
//! Runs in: the supervisor. The descriptors come from the Apache parent, and all of httpd shares
//! them, so the supervisor must not change their flags: it opens a file or pipe once more for
//! itself, non-blocking. syslog has no descriptor and is written to directly. Lines that cannot be
//! written yet wait in a bounded buffer. Beyond the bound, lines are dropped and counted, and the
//! count is written when the log recovers. A full disk or a stopped log program slows nothing down.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use os::clock::Calendar;
use os::syslog;
use os::write_now::{kind, write_now, Kind};
use wire::control::Syslog;
use wire::log_id::LOG_LINES_LOST;
use wire::response::Level;

/// Maximum number of bytes in the buffer.
const MAX_WAITING: usize = 256 * 1024;
/// Maximum length of a line's text, before escaping.
pub const MAX_TEXT: usize = 8 * 1024;
/// Maximum length of the label before a text.
pub const MAX_LABEL: usize = 256;

/// The line format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Lines less severe than this are not written.
    pub threshold: Level,
    /// Whether a line names a thread beside the process: httpd does so under threaded MPMs.
    pub threads: bool,
}

/// A handle on one log; clones write to the same.
#[derive(Debug, Clone)]
pub struct ErrorLog {
    sink: Rc<LogFile>,
    /// Lines less severe than this are not written by this handle.
    threshold: Level,
}

/// The place of an error log, as the parent describes it.
#[derive(Debug)]
pub enum LogTarget {
    /// A file or a pipe, which all of httpd writes to.
    Descriptor(OwnedFd),
    System(Syslog),
}

#[derive(Debug)]
struct LogFile {
    outlet: Outlet,
    style: Style,
    backlog: RefCell<Backlog>,
}

#[derive(Debug)]
enum Outlet {
    /// Our own open file description, which never blocks.
    Own(File),
    /// A shared file description that could not be opened again. Its flags are everybody's, so each
    /// single write has to say that it does not wait.
    Shared(File, Kind),
    System(syslog::Syslog, Syslog),
}

#[derive(Debug, Default)]
struct Backlog {
    waiting: VecDeque<u8>,
    /// Lines dropped since the last line that was written.
    dropped: u64,
}

impl ErrorLog {
    /// The log that is there.
    pub fn new(place: LogTarget, style: Style) -> Self {
        let outlet = match place {
            LogTarget::Descriptor(shared) => {
                match os::descriptor::reopen_for_appending(shared.as_fd()) {
                    Ok(own) => Outlet::Own(own.into()),
                    Err(_) => Outlet::shared(shared.into()),
                }
            }
            LogTarget::System(how) => Outlet::System(syslog::Syslog::at(syslog::PATH), how),
        };
        Self::of(outlet, style)
    }

    fn of(outlet: Outlet, style: Style) -> Self {
        Self {
            threshold: style.threshold,
            sink: Rc::new(LogFile {
                outlet,
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

    /// Writes one line on behalf of a process; `text` may contain any bytes.
    pub fn write(&self, level: Level, pid: u32, text: &[u8]) {
        if level > self.threshold {
            return;
        }
        let line = self.sink.line(os::clock::epoch(), level, pid, text);
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
            let notice = self.sink.line(now, Level::Warning, own, text.as_bytes());
            backlog.waiting.extend(notice);
        }
        backlog.waiting.extend(line);
        self.sink.flush(&mut backlog);
    }

    /// The descriptor to poll for writing while lines wait.
    pub fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        if self.sink.backlog.borrow().waiting.is_empty() {
            return None;
        }
        match &self.sink.outlet {
            Outlet::Own(file) | Outlet::Shared(file, _) => Some(file.as_fd()),
            Outlet::System(log, _) => log.descriptor(),
        }
    }

    /// Writes the waiting lines as far as possible.
    pub fn flush(&self) {
        self.sink.flush(&mut self.sink.backlog.borrow_mut());
    }
}

impl Outlet {
    fn shared(file: File) -> Self {
        let kind = kind(file.as_fd());
        Self::Shared(file, kind)
    }
}

impl LogFile {
    fn flush(&self, backlog: &mut Backlog) {
        while !backlog.waiting.is_empty() {
            let written = match &self.outlet {
                Outlet::Own(file) => (&*file).write(backlog.waiting.as_slices().0),
                Outlet::Shared(file, kind) => {
                    write_now(file.as_fd(), *kind, backlog.waiting.as_slices().0)
                }
                Outlet::System(log, _) => send_record(log, backlog.waiting.make_contiguous()),
            };
            match written {
                Ok(count @ 1..) => drop(backlog.waiting.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The reader is gone or the disk is full: the waiting lines are lost, and reported
                // if the log recovers.
                Ok(0) | Err(_) => {
                    let lines = backlog.waiting.iter().filter(|&&b| b == b'\n').count();
                    backlog.dropped += lines as u64;
                    backlog.waiting.clear();
                }
            }
        }
    }

    /// One line in this log's format. It contains no newline except its last byte.
    fn line(&self, at: Duration, level: Level, pid: u32, text: &[u8]) -> Vec<u8> {
        let date = Date(at, os::clock::local(at));
        let mut head = String::new();
        // Writing to a String cannot fail.
        let _ = match &self.outlet {
            Outlet::Own(_) | Outlet::Shared(..) => write!(head, "[{date}] "),
            // syslog writes the year and the microseconds itself, if configured to.
            Outlet::System(_, how) => write!(
                head,
                "<{}>{date:#} {}[{}]: ",
                how.facility << 3 | level as u32,
                how.tag.text(),
                os::process::id()
            ),
        };
        let _ = write!(head, "[wsgi:{}] [pid {pid}", word(level));
        if self.style.threads {
            let _ = write!(head, ":tid {pid}");
        }
        head.push_str("] ");
        let mut line = head.into_bytes();
        escape(&text[..text.len().min(MAX_LABEL + MAX_TEXT)], &mut line);
        line.push(b'\n');
        line
    }
}

/// Sends the first waiting line, without its newline, which a record does not need.
fn send_record(log: &syslog::Syslog, waiting: &[u8]) -> io::Result<usize> {
    let end = waiting.iter().position(|&byte| byte == b'\n');
    let length = end.unwrap_or(waiting.len());
    log.send(&waiting[..length])?;
    Ok(waiting.len().min(length + 1))
}

/// A time in the format of httpd's own log; `{:#}` uses the format of syslog(3).
struct Date(Duration, Calendar);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let Self(at, local) = self;
        let month = MONTHS[usize::from(local.month % 12)];
        let time = format!("{:02}:{:02}:{:02}", local.hour, local.minute, local.second);
        if f.alternate() {
            return write!(f, "{month} {:2} {time}", local.day);
        }
        let day = DAYS[usize::from(local.weekday % 7)];
        let micros = at.subsec_micros();
        write!(
            f,
            "{day} {month} {:02} {time}.{micros:06} {}",
            local.day, local.year
        )
    }
}

/// A level under httpd's name for it.
fn word(level: Level) -> &'static str {
    match level {
        Level::Critical => "crit",
        Level::Error => "error",
        Level::Warning => "warn",
        Level::Notice => "notice",
        Level::Info => "info",
        Level::Debug => "debug",
    }
}

/// Writes text as httpd does: bytes that are not printable ASCII are escaped, so that no process
/// can forge a line or send control codes to a reader's terminal.
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
    use std::os::unix::net::UnixDatagram;

    use super::*;

    const STYLE: Style = Style {
        threshold: Level::Notice,
        threads: true,
    };

    #[test]
    fn a_line_has_httpds_format() {
        let at = Duration::new(1_763_702_721, 123_456_789);
        let (_reader, writer) = os::descriptor::pipe().unwrap();
        let line = |style, level| {
            let log = ErrorLog::of(Outlet::Own(writer.try_clone().unwrap().into()), style);
            String::from_utf8(log.sink.line(at, level, 7, b"hi")).unwrap()
        };
        let text = line(STYLE, Level::Error);
        let (date, rest) = text.split_at(text.find("] ").unwrap());
        assert_eq!(rest, "] [wsgi:error] [pid 7:tid 7] hi\n");
        assert!(date.ends_with(".123456 2025"), "{date}");
        assert_eq!(date.len(), "[Sat Nov 21 05:25:21.123456 2026".len());
        let style = Style {
            threads: false,
            ..STYLE
        };
        let text = line(style, Level::Warning);
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
        let journal = ErrorLog::new(LogTarget::Descriptor(writer), STYLE);
        assert!(matches!(journal.sink.outlet, Outlet::Own(_)));
        costs_lines_but_no_wait(reader, &journal);
    }

    #[test]
    fn nor_does_one_that_others_hold_and_that_cannot_be_opened_again() {
        let (reader, writer) = os::descriptor::pipe().unwrap();
        let journal = ErrorLog::of(Outlet::shared(writer.into()), STYLE);
        costs_lines_but_no_wait(reader, &journal);
        let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let journal = ErrorLog::new(LogTarget::Descriptor(writer.into()), STYLE);
        assert!(matches!(
            journal.sink.outlet,
            Outlet::Shared(_, Kind::Socket)
        ));
        costs_lines_but_no_wait(reader.into(), &journal);
    }

    fn costs_lines_but_no_wait(reader: OwnedFd, journal: &ErrorLog) {
        journal.note(Level::Info, "below the threshold");
        for _ in 0..1000 {
            journal.write(Level::Error, 1, &[b'x'; 4000]);
        }
        assert!(journal.waits_for().is_some());
        assert!(journal.sink.backlog.borrow().waiting.len() <= MAX_WAITING);
        let mut reader = File::from(reader);
        os::descriptor::set_nonblocking(reader.as_fd()).unwrap();
        let mut text = Vec::new();
        let mut drain = |text: &mut Vec<u8>| {
            for _ in 0..100 {
                let _ = reader.read_to_end(text);
                journal.flush();
            }
        };
        drain(&mut text);
        assert!(journal.waits_for().is_none());
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
        let journal = ErrorLog::new(LogTarget::Descriptor(writer), STYLE);
        journal.note(Level::Error, "nobody hears this");
        assert!(journal.waits_for().is_none());
    }

    #[test]
    fn records_reach_the_system_s_log_and_those_it_has_no_room_for_wait() {
        let directory = crate::testing::Directory::new("syslog");
        let path = directory.path().join("log");
        let bind = || {
            let reader = UnixDatagram::bind(&path).unwrap();
            let limit = std::time::Duration::from_secs(20);
            reader.set_read_timeout(Some(limit)).unwrap();
            reader
        };
        let reader = bind();
        let how = Syslog {
            facility: 19,
            tag: "apache2".into(),
        };
        let log = syslog::Syslog::at(path.as_os_str().as_encoded_bytes());
        let journal = ErrorLog::of(Outlet::System(log, how), STYLE);
        journal.write(Level::Error, 7, b"one\ntwo");
        let mut buffer = [0; 1000];
        let mut read = || {
            let length = reader.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        let record = read();
        assert!(record.starts_with("<155>"), "{record}");
        let own = os::process::id();
        let end = format!(" apache2[{own}]: [wsgi:error] [pid 7:tid 7] one\\ntwo");
        assert!(record.ends_with(&end), "{record}");
        assert_eq!(record.len(), "<155>Nov  7 05:25:21".len() + end.len());
        let mut count = 0;
        while journal.waits_for().is_none() {
            journal.write(Level::Notice, 7, b"flood");
            count += 1;
        }
        for _ in 0..count {
            assert!(read().starts_with("<157>"));
            journal.flush();
        }
        assert!(journal.waits_for().is_none());
        // No process reads it any more: lines are lost, and the loss is reported when a reader
        // returns.
        drop(reader);
        std::fs::remove_file(&path).unwrap();
        journal.write(Level::Error, 7, b"unheard");
        let reader = bind();
        journal.write(Level::Error, 7, b"heard");
        let mut read = || {
            let length = reader.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        assert!(read().contains("WSGI0330: 1 lines were lost"));
        assert!(read().ends_with(" heard"));
    }
}
