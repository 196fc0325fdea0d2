//! The answer to one request, as far as the application has made it.
//!
//! Runs in: request threads, and whatever threads of the application print, write or send interim
//! responses, each with the lock of the [`Exchange`] that the answer belongs to. What waits says so,
//! and is called with the GIL released.
//!
//! [`Exchange`]: super::Exchange

use std::io;
use std::os::fd::OwnedFd;

use os::clock::monotonic_us;
use wire::log_id::LogId;
use wire::response::{End, File, Level, MAX_INTERIM};

use super::frame_writer::Outlet;
use super::log_lines::Lines;
use super::request_body::Body;
use super::response_head::Head;

/// Bytes of body that are best copied and sent together with what stands before them; longer ones
/// are sent from where they are.
pub const COPY_LIMIT: usize = 16 * 1024;

/// The answer so far.
pub struct Output {
    pub(super) outlet: Option<Box<dyn Outlet>>,
    head: Option<Head>,
    head_sent: bool,
    /// Body bytes still owed to a declared Content-Length.
    owed: Option<u64>,
    /// The body is dropped: HEAD, 204, 304.
    mute: bool,
    /// The server is gone; why.
    pub(super) lost: Option<io::ErrorKind>,
    lines: Lines,
    interims: u32,
    /// A `100 Continue` has gone out.
    continued: bool,
    continue_head: Option<Head>,
    /// The last word says that the connection is kept.
    pub(super) kept: bool,
    /// What stands in line waits for more to go with it. See [`Output::hold`].
    pub(super) held: bool,
    pub length: u64,
    pub writes: u64,
    /// Microseconds it took to hand them over.
    pub time: u64,
}

/// The last word of an answer. What the application prints while it is put away comes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    End(End),
    /// There is no usable response, and what the virtual host's log is to say of it, if anything;
    /// only where the head has not left.
    Fail(u16, Option<(LogId, &'static str)>),
}

/// Why a part of the answer was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The request is over.
    Over,
    /// `start_response` was not called.
    NoHead,
    /// The head has left.
    HeadSent,
    /// Client or server are gone.
    Gone,
    /// The client does not take the response, and the time limit has passed.
    Stuck,
}

impl Output {
    /// An answer of which nothing is known yet.
    pub(super) fn new(outlet: Box<dyn Outlet>) -> Self {
        Self {
            outlet: Some(outlet),
            head: None,
            head_sent: false,
            owed: None,
            mute: false,
            lost: None,
            lines: Lines::new(),
            interims: 0,
            continued: false,
            continue_head: None,
            kept: false,
            held: false,
            length: 0,
            writes: 0,
            time: 0,
        }
    }

    pub fn over(&self) -> bool {
        self.outlet.is_none()
    }

    /// Whether the head has been handed to the server or stands in line to be.
    pub fn head_sent(&self) -> bool {
        self.head_sent
    }

    pub fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// Status of the response, once `start_response` was called.
    pub fn status(&self) -> Option<u16> {
        self.head.as_ref().map(|head| head.status)
    }

    /// Nobody listens any more.
    pub fn gone(&self) -> bool {
        self.lost.is_some()
    }

    /// Bytes that the declared Content-Length still lacks; `None` where that is no matter.
    pub fn shortfall(&self) -> Option<u64> {
        self.owed.filter(|&owed| owed > 0 && !self.mute)
    }

    /// Takes or replaces the head.
    pub fn set_head(&mut self, head: Head) -> Result<(), Refusal> {
        if self.over() {
            return Err(Refusal::Over);
        }
        if self.head_sent {
            return Err(Refusal::HeadSent);
        }
        self.head = Some(head);
        Ok(())
    }

    /// Declares the body's length unless the application did.
    pub fn set_length(&mut self, length: u64) {
        if let Some(head) = self.head.as_mut().filter(|_| !self.head_sent) {
            // Refused only where the fields are at their bound: the response then goes unmarked.
            let _ = head.set_length(length);
        }
    }

    /// Puts the head in line, once.
    pub fn begin(&mut self, head_request: bool) -> Result<(), Refusal> {
        let outlet = self.outlet.as_mut().ok_or(Refusal::Over)?;
        if self.head_sent {
            return Ok(());
        }
        let head = self.head.as_ref().ok_or(Refusal::NoHead)?;
        outlet.head(head);
        self.owed = head.content_length;
        self.mute = head_request || head.bodiless();
        self.head_sent = true;
        Ok(())
    }

    /// How much of `bytes` belongs into the body: cut at the declared length, none for HEAD.
    fn admitted<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        self.writes += 1;
        let bytes = match &mut self.owed {
            None => bytes,
            Some(owed) => {
                let keep = bytes
                    .len()
                    .min(usize::try_from(*owed).unwrap_or(usize::MAX));
                *owed -= keep as u64;
                &bytes[..keep]
            }
        };
        if self.mute {
            return &[];
        }
        self.length += bytes.len() as u64;
        bytes
    }

    /// Collects bytes of the body; [`Output::begin`] came before. Does not wait.
    pub fn data(&mut self, bytes: &[u8]) {
        let bytes = self.admitted(bytes);
        if let Some(outlet) = self.outlet.as_mut().filter(|_| !bytes.is_empty()) {
            outlet.data(bytes);
        }
    }

    /// Collects bytes of the body, [`Output::begin`] came before, and leaves them in line where they
    /// are few. False where it is time to send them, or to see that nobody takes them.
    pub fn hold(&mut self, bytes: &[u8]) -> bool {
        self.data(bytes);
        let waiting = self.outlet.as_ref().map_or(0, |outlet| outlet.waiting());
        self.held = waiting <= COPY_LIMIT && self.lost.is_none();
        self.held
    }

    /// Sends bytes of the body with all that stands before them, from where they are. Waits.
    pub fn data_now(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let bytes = self.admitted(bytes);
        if let Some(outlet) = self.outlet.as_mut().filter(|_| self.lost.is_none()) {
            let began = monotonic_us();
            if let Err(error) = outlet.data_now(bytes) {
                self.lost = Some(error.kind());
            }
            self.time += monotonic_us().saturating_sub(began);
        }
        self.sent()
    }

    /// How it went with what was sent.
    pub fn sent(&self) -> Result<(), Refusal> {
        match self.lost {
            None => Ok(()),
            Some(io::ErrorKind::TimedOut) => Err(Refusal::Stuck),
            Some(_) => Err(Refusal::Gone),
        }
    }

    /// Hands over a stretch of a file as the body.
    pub fn file(&mut self, file: OwnedFd, part: File) {
        let len = self.owed.map_or(part.len, |owed| owed.min(part.len));
        if let Some(owed) = &mut self.owed {
            *owed -= len;
        }
        self.writes += 1;
        if self.mute {
            return;
        }
        self.length += len;
        if let Some(outlet) = self.outlet.as_mut() {
            outlet.file(file, File { len, ..part });
        }
    }

    /// Bytes a file may contribute: the declared length, if there is one.
    pub fn wanted(&self) -> Option<u64> {
        self.head.as_ref().and_then(|head| head.content_length)
    }

    /// Puts the last word in line. The connection is kept only where it says so and nothing of the
    /// request's `body` can still come in.
    pub(super) fn conclude(&mut self, last: Option<Last>, body: Option<&Body>) {
        let Some(outlet) = self.outlet.as_mut() else {
            return;
        };
        match last {
            Some(Last::End(end)) => {
                let is_over = body.is_some_and(Body::is_over);
                self.kept = end.kept && is_over && !end.broken && !end.awaited;
                let kept = self.kept;
                outlet.end(End { kept, ..end });
            }
            Some(Last::Fail(status, None)) => outlet.fail(status, ""),
            Some(Last::Fail(status, Some((id, text)))) => {
                outlet.fail(status, &format!("{id}: {text}"));
            }
            None => {}
        }
    }

    /// Sends what was collected, if that can be done without waiting; false where something is left.
    pub fn flush_at_once(&mut self) -> bool {
        let Some(outlet) = self.outlet.as_mut().filter(|_| self.lost.is_none()) else {
            self.held = false;
            return true;
        };
        let began = monotonic_us();
        let done = outlet.flush_at_once().unwrap_or_else(|error| {
            self.lost = Some(error.kind());
            true
        });
        self.held &= !done;
        self.time += monotonic_us().saturating_sub(began);
        done
    }

    /// Sends what was collected. Waits.
    pub fn flush(&mut self) {
        self.held = false;
        if let Some(outlet) = self.outlet.as_mut().filter(|_| self.lost.is_none()) {
            let began = monotonic_us();
            if let Err(error) = outlet.flush() {
                self.lost = Some(error.kind());
            }
            self.time += monotonic_us().saturating_sub(began);
        }
    }

    /// Collects a record for the log; gives it back where nobody would get it.
    pub fn log(&mut self, level: Level, text: &[u8]) -> Result<(), Refusal> {
        let outlet = self.outlet.as_mut().ok_or(Refusal::Over)?;
        if self.lost.is_some() {
            return Err(Refusal::Gone);
        }
        outlet.log(level, text);
        Ok(())
    }

    /// Collects what the application prints; complete records go in line. Gives those back that
    /// nobody would get.
    pub fn print(&mut self, text: &[u8]) -> Result<(), Vec<Vec<u8>>> {
        let mut lines = std::mem::take(&mut self.lines);
        let mut lost = Vec::new();
        lines.write(text, |record| {
            if self.log(Level::Error, record).is_err() {
                lost.push(record.to_vec());
            }
        });
        self.lines = lines;
        if lost.is_empty() {
            Ok(())
        } else {
            Err(lost)
        }
    }

    /// Makes a record of a partial line.
    pub fn flush_lines(&mut self) -> Option<Vec<u8>> {
        let mut lines = std::mem::take(&mut self.lines);
        let mut lost = None;
        lines.flush(|record| {
            if self.log(Level::Error, record).is_err() {
                lost = Some(record.to_vec());
            }
        });
        self.lines = lines;
        lost
    }

    /// Collects an interim response. Those past their bound are left out: they are of no use by
    /// then, and no fault either.
    pub fn interim(&mut self, head: &Head) -> Result<(), Refusal> {
        let outlet = self.outlet.as_mut().ok_or(Refusal::Over)?;
        if self.head_sent || self.interims == MAX_INTERIM {
            return Err(Refusal::HeadSent);
        }
        self.interims += 1;
        outlet.interim(head);
        Ok(())
    }

    /// Keeps the fields for the `100 Continue` that goes out with the first read, and for those the
    /// application sends itself.
    pub fn prepare_continue(&mut self, head: Head) {
        self.continue_head = Some(head);
    }

    /// Collects a `100 Continue`; false after the head.
    pub fn send_continue(&mut self, head: &Head) -> bool {
        let sent = self.interim(head).is_ok();
        self.continued |= sent;
        sent
    }

    /// Collects the `100 Continue` that was prepared, unless one was sent.
    pub(super) fn send_prepared_continue(&mut self) {
        if let Some(head) = self.continue_head.clone().filter(|_| !self.continued) {
            self.send_continue(&head);
        }
    }

    /// The fields prepared for `100 Continue`.
    pub fn continue_head(&self) -> Head {
        self.continue_head
            .clone()
            .unwrap_or_else(|| Head::interim(100, "Continue"))
    }
}
