//! Writing to httpd's error log.
//!
//! Runs in: the parent and the Apache children, on any thread that holds a view of a request,
//! connection or server. The view selects the ErrorLog, the LogLevel and the client address of a
//! line.

use std::ffi::{c_char, c_int};
use std::panic::Location;
use std::ptr;

use super::connection::ClientConnection;
use super::pool::Pool;
use super::request::Request;
use super::server::Server;
use super::sys;

/// Severity, as httpd's `LogLevel` has it. A lower number is more severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// The server cannot go on.
    Emergency = 0,
    /// An administrator must act at once.
    Alert = 1,
    /// A component is down.
    Critical = 2,
    /// A request or a step failed.
    Error = 3,
    /// It works, but not as configured.
    Warning = 4,
    /// Worth knowing in normal operation.
    Notice = 5,
    /// Life cycle.
    Info = 6,
    /// Detail of start and stop.
    Debug = 7,
    /// Detail of each request.
    Trace1 = 8,
    /// Finer detail of each request.
    Trace2 = 9,
}

impl Level {
    /// The level with httpd's number `number`; numbers outside the scale are clamped.
    pub fn from_number(number: i32) -> Level {
        match number {
            ..=0 => Level::Emergency,
            1 => Level::Alert,
            2 => Level::Critical,
            3 => Level::Error,
            4 => Level::Warning,
            5 => Level::Notice,
            6 => Level::Info,
            7 => Level::Debug,
            8 => Level::Trace1,
            _ => Level::Trace2,
        }
    }
}

/// Anything with an error log. Messages are bytes, because paths and header values are; httpd
/// escapes what is not printable. Text after a NUL byte, or past about 8 KiB, is lost.
pub trait Log {
    /// Whether a line of this level would be written, so that it need not be composed.
    fn logs(&self, level: Level) -> bool;

    /// Writes one line. `status` is the APR or errno value the line explains, 0 for none.
    #[track_caller]
    fn log_status(&self, level: Level, status: i32, message: impl AsRef<[u8]>);

    /// Writes one line.
    #[track_caller]
    fn log(&self, level: Level, message: impl AsRef<[u8]>) {
        self.log_status(level, 0, message);
    }

    /// A component is down.
    #[track_caller]
    fn critical(&self, message: impl AsRef<[u8]>) {
        self.log(Level::Critical, message);
    }

    /// A request or a step failed.
    #[track_caller]
    fn error(&self, message: impl AsRef<[u8]>) {
        self.log(Level::Error, message);
    }

    /// It works, but not as configured.
    #[track_caller]
    fn warning(&self, message: impl AsRef<[u8]>) {
        self.log(Level::Warning, message);
    }

    /// Worth knowing in normal operation.
    #[track_caller]
    fn notice(&self, message: impl AsRef<[u8]>) {
        self.log(Level::Notice, message);
    }

    /// Life cycle.
    #[track_caller]
    fn info(&self, message: impl AsRef<[u8]>) {
        self.log(Level::Info, message);
    }

    /// Detail of start and stop.
    #[track_caller]
    fn debug(&self, message: impl AsRef<[u8]>) {
        self.log(Level::Debug, message);
    }
}

/// A message and its origin as C strings, for the length of one call.
struct Line {
    file: Vec<u8>,
    line: c_int,
    text: Vec<u8>,
}

impl Line {
    #[track_caller]
    fn new(message: &[u8]) -> Line {
        let at = Location::caller();
        Line {
            file: terminated(at.file().as_bytes()),
            line: at.line() as c_int,
            text: terminated(message),
        }
    }

    fn file(&self) -> *const c_char {
        self.file.as_ptr().cast()
    }

    fn text(&self) -> *const c_char {
        self.text.as_ptr().cast()
    }
}

fn terminated(text: &[u8]) -> Vec<u8> {
    let mut owned = Vec::with_capacity(text.len() + 1);
    owned.extend_from_slice(text);
    owned.push(0);
    owned
}

impl Log for Server<'_> {
    fn logs(&self, level: Level) -> bool {
        // SAFETY: a live server record, lent for at least the lifetime of `self`.
        unsafe { sys::shim_server_logs(self.raw(), level as c_int) != 0 }
    }

    #[track_caller]
    fn log_status(&self, level: Level, status: i32, message: impl AsRef<[u8]>) {
        if self.logs(level) {
            let line = Line::new(message.as_ref());
            // SAFETY: a live server record; both strings are terminated and outlive the call.
            unsafe {
                sys::shim_log_server(
                    line.file(),
                    line.line,
                    level as c_int,
                    status,
                    self.raw(),
                    line.text(),
                );
            }
        }
    }
}

impl Server<'_> {
    /// The number of the least severe level that is logged of this module: 7 is `debug`, traces
    /// come after it.
    pub fn log_level(self) -> u32 {
        // SAFETY: a live server record, lent for at least the lifetime of `self`.
        u32::try_from(unsafe { sys::shim_server_log_level(self.raw()) }).unwrap_or(0)
    }
}

impl Log for ClientConnection<'_> {
    fn logs(&self, level: Level) -> bool {
        // SAFETY: a live connection record, lent for at least the lifetime of `self`.
        unsafe { sys::shim_connection_logs(self.raw(), level as c_int) != 0 }
    }

    #[track_caller]
    fn log_status(&self, level: Level, status: i32, message: impl AsRef<[u8]>) {
        if self.logs(level) {
            let line = Line::new(message.as_ref());
            // SAFETY: a live connection record; both strings are terminated and outlive the call.
            unsafe {
                sys::shim_log_connection(
                    line.file(),
                    line.line,
                    level as c_int,
                    status,
                    self.raw(),
                    line.text(),
                );
            }
        }
    }
}

impl Log for Request<'_> {
    fn logs(&self, level: Level) -> bool {
        // SAFETY: a live request record, lent for at least the lifetime of `self`.
        unsafe { sys::shim_request_logs(self.raw(), level as c_int) != 0 }
    }

    #[track_caller]
    fn log_status(&self, level: Level, status: i32, message: impl AsRef<[u8]>) {
        if self.logs(level) {
            let line = Line::new(message.as_ref());
            // SAFETY: a live request record; both strings are terminated and outlive the call.
            unsafe {
                sys::shim_log_request(
                    line.file(),
                    line.line,
                    level as c_int,
                    status,
                    self.raw(),
                    line.text(),
                );
            }
        }
    }
}

impl Request<'_> {
    /// Logs an application's text without a source location of the module, which httpd would show
    /// at `LogLevel debug`.
    pub fn log_words(&self, level: Level, message: &[u8]) {
        let text = terminated(message);
        // SAFETY: a live request record; httpd leaves out a file that is NULL; the text is
        // terminated and outlives the call.
        unsafe {
            sys::shim_log_request(
                std::ptr::null(),
                0,
                level as c_int,
                0,
                self.raw(),
                text.as_ptr().cast(),
            );
        }
    }
}

/// The start-up log: the terminal before the ErrorLog is open, the main ErrorLog after.
impl Log for Pool<'_> {
    fn logs(&self, level: Level) -> bool {
        // httpd has no level to ask for here and writes everything down to NOTICE while starting.
        level <= Level::Notice
    }

    #[track_caller]
    fn log_status(&self, level: Level, status: i32, message: impl AsRef<[u8]>) {
        let line = Line::new(message.as_ref());
        // SAFETY: a live pool; both strings are terminated and outlive the call.
        unsafe {
            sys::shim_log_startup(
                line.file(),
                line.line,
                level as c_int,
                status,
                self.raw(),
                line.text(),
            );
        }
    }
}

/// The main server's error log, for code that has no view of a request, connection or server.
#[derive(Clone, Copy, Debug)]
pub struct MainLog;

impl Log for MainLog {
    fn logs(&self, level: Level) -> bool {
        Server::main().is_none_or(|main| main.logs(level))
    }

    #[track_caller]
    fn log_status(&self, level: Level, status: i32, message: impl AsRef<[u8]>) {
        if let Some(main) = Server::main() {
            return main.log_status(level, status, message);
        }
        let line = Line::new(message.as_ref());
        // SAFETY: httpd accepts no server (the line goes to its stderr); both strings are
        // terminated and outlive the call.
        unsafe {
            sys::shim_log_server(
                line.file(),
                line.line,
                level as c_int,
                status,
                ptr::null(),
                line.text(),
            );
        }
    }
}
