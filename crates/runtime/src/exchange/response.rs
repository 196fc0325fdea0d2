//! The response to one request, as far as the application has produced it.
//!
//! Runs in: request threads, and all threads of the application that print, write or send interim
//! responses, each with the lock of the [`Exchange`] that the response belongs to. What waits says
//! so, and is called with the GIL released.
//!
//! [`Exchange`]: super::Exchange

use std::io;
use std::os::fd::OwnedFd;

use os::clock::monotonic_us;
use wire::hook::Answer;
use wire::log_id::LogId;
use wire::response::{End, File, Level, MAX_INTERIM};
use wire::Malformed;

use super::frame_writer::ResponseSink;
use super::log_lines::LogLines;
use super::request_body::RequestBody;
use super::response_head::ResponseHead;

/// Body bytes up to this many are copied and sent together with what was collected before; longer
/// ones are sent from where they are.
pub const COPY_LIMIT: usize = 16 * 1024;

/// The response so far.
pub struct Response {
    pub(super) sink: Option<Box<dyn ResponseSink>>,
    head: Option<ResponseHead>,
    head_sent: bool,
    /// Body bytes still owed to a declared Content-Length.
    owed: Option<u64>,
    /// The body is dropped: HEAD, 204, 304.
    mute: bool,
    /// Why nothing can be sent any more.
    pub(super) lost: Option<io::ErrorKind>,
    lines: LogLines,
    interims: u32,
    /// A `100 Continue` has gone out.
    continued: bool,
    continue_head: Option<ResponseHead>,
    /// The last frame says that the connection is kept.
    pub(super) keep_alive: bool,
    /// What was collected waits for more to be sent with it. See [`Response::hold`].
    pub(super) held: bool,
    pub length: u64,
    pub writes: u64,
    /// Microseconds that sending took.
    pub time: u64,
}

/// How a response ends. What the application prints while its objects are freed comes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conclusion {
    End(End),
    /// There is no usable response: a status, and what the virtual host's log is to say, if
    /// anything; only if the head was not sent.
    Fail(u16, Option<(LogId, &'static str)>),
}

/// Why a part of the response was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The request is over.
    RequestEnded,
    /// `start_response` was not called.
    NoHead,
    /// The head was sent.
    HeadSent,
    /// The client or the Apache child is gone.
    Disconnected,
    /// The client does not take the response, and the time limit has passed.
    TimedOut,
}

impl Response {
    /// A response of which nothing is known yet.
    pub(super) fn new(sink: Box<dyn ResponseSink>) -> Self {
        Self {
            sink: Some(sink),
            head: None,
            head_sent: false,
            owed: None,
            mute: false,
            lost: None,
            lines: LogLines::new(),
            interims: 0,
            continued: false,
            continue_head: None,
            keep_alive: false,
            held: false,
            length: 0,
            writes: 0,
            time: 0,
        }
    }

    pub fn over(&self) -> bool {
        self.sink.is_none()
    }

    /// Whether the head was sent or collected to be sent.
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

    /// Nothing can be sent any more.
    pub fn gone(&self) -> bool {
        self.lost.is_some()
    }

    /// Bytes that the declared Content-Length still lacks; `None` if that does not matter.
    pub fn shortfall(&self) -> Option<u64> {
        self.owed.filter(|&owed| owed > 0 && !self.mute)
    }

    /// Takes or replaces the head.
    pub fn set_head(&mut self, head: ResponseHead) -> Result<(), SendError> {
        if self.over() {
            return Err(SendError::RequestEnded);
        }
        if self.head_sent {
            return Err(SendError::HeadSent);
        }
        self.head = Some(head);
        Ok(())
    }

    /// Declares the body's length unless the application did.
    pub fn set_length(&mut self, length: u64) {
        if let Some(head) = self.head.as_mut().filter(|_| !self.head_sent) {
            // Invalid only if the fields are at their bound: then the length stays undeclared.
            let _ = head.set_length(length);
        }
    }

    /// Collects the head, once.
    pub fn begin(&mut self, head_request: bool) -> Result<(), SendError> {
        let sink = self.sink.as_mut().ok_or(SendError::RequestEnded)?;
        if self.head_sent {
            return Ok(());
        }
        let head = self.head.as_ref().ok_or(SendError::NoHead)?;
        sink.head(head);
        self.owed = head.content_length;
        self.mute = head_request || head.bodiless();
        self.head_sent = true;
        Ok(())
    }

    /// How much of `bytes` belongs to the body: cut at the declared length, none for HEAD.
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

    /// Collects bytes of the body; [`Response::begin`] came before. Does not wait.
    pub fn data(&mut self, bytes: &[u8]) {
        let bytes = self.admitted(bytes);
        if let Some(sink) = self.sink.as_mut().filter(|_| !bytes.is_empty()) {
            sink.data(bytes);
        }
    }

    /// Collects bytes of the body after [`Response::begin`], and holds them back if they are few.
    /// False if it is time to send them, or to notice that nothing can be sent.
    pub fn hold(&mut self, bytes: &[u8]) -> bool {
        self.data(bytes);
        let waiting = self.sink.as_ref().map_or(0, |sink| sink.waiting());
        self.held = waiting <= COPY_LIMIT && self.lost.is_none();
        self.held
    }

    /// Sends bytes of the body and what was collected before them, without copying. Waits.
    pub fn data_now(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        let bytes = self.admitted(bytes);
        if let Some(sink) = self.sink.as_mut().filter(|_| self.lost.is_none()) {
            let began = monotonic_us();
            if let Err(error) = sink.data_now(bytes) {
                self.lost = Some(error.kind());
            }
            self.time += monotonic_us().saturating_sub(began);
        }
        self.sent()
    }

    /// Whether everything so far could be sent.
    pub fn sent(&self) -> Result<(), SendError> {
        match self.lost {
            None => Ok(()),
            Some(io::ErrorKind::TimedOut) => Err(SendError::TimedOut),
            Some(_) => Err(SendError::Disconnected),
        }
    }

    /// Sends part of a file as the body, by its descriptor.
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
        if let Some(sink) = self.sink.as_mut() {
            sink.file(file, File { len, ..part });
        }
    }

    /// Bytes a file may contribute: the declared length, if there is one.
    pub fn wanted(&self) -> Option<u64> {
        self.head.as_ref().and_then(|head| head.content_length)
    }

    /// Collects the last frame. The connection is kept only if that says so and no more of the
    /// request's `body` can come.
    pub(super) fn conclude(&mut self, last: Option<Conclusion>, body: Option<&RequestBody>) {
        let Some(sink) = self.sink.as_mut() else {
            return;
        };
        match last {
            Some(Conclusion::End(end)) => {
                let is_over = body.is_some_and(RequestBody::is_over);
                self.keep_alive = end.keep_alive && is_over && !end.broken && !end.awaited;
                let keep_alive = self.keep_alive;
                sink.end(End { keep_alive, ..end });
            }
            Some(Conclusion::Fail(status, None)) => sink.fail(status, ""),
            Some(Conclusion::Fail(status, Some((id, text)))) => {
                sink.fail(status, &format!("{id}: {text}"));
            }
            None => {}
        }
    }

    /// Sends what was collected, if that takes no waiting; false if something is left.
    pub fn flush_at_once(&mut self) -> bool {
        let Some(sink) = self.sink.as_mut().filter(|_| self.lost.is_none()) else {
            self.held = false;
            return true;
        };
        let began = monotonic_us();
        let done = sink.flush_at_once().unwrap_or_else(|error| {
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
        if let Some(sink) = self.sink.as_mut().filter(|_| self.lost.is_none()) {
            let began = monotonic_us();
            if let Err(error) = sink.flush() {
                self.lost = Some(error.kind());
            }
            self.time += monotonic_us().saturating_sub(began);
        }
    }

    /// Collects the answer to a question of a hook; an error if it is past a bound. Where nobody
    /// listens any more there is nothing to do.
    pub fn answer(&mut self, answer: &Answer<'_>) -> Result<(), Malformed> {
        match &mut self.sink {
            Some(sink) => sink.answer(answer),
            None => Ok(()),
        }
    }

    /// Collects a record for the log; an error if it would not arrive.
    pub fn log(&mut self, level: Level, text: &[u8]) -> Result<(), SendError> {
        let sink = self.sink.as_mut().ok_or(SendError::RequestEnded)?;
        if self.lost.is_some() {
            return Err(SendError::Disconnected);
        }
        sink.log(level, text);
        Ok(())
    }

    /// Collects what the application prints; makes records of complete lines. Returns those that
    /// would not arrive.
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

    /// Whether a line is pending that has no end yet.
    pub fn has_partial_line(&self) -> bool {
        !self.lines.is_empty()
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

    /// Collects an interim response. Those past their bound are dropped: by then they are of no
    /// use, and no error either.
    pub fn interim(&mut self, head: &ResponseHead) -> Result<(), SendError> {
        let sink = self.sink.as_mut().ok_or(SendError::RequestEnded)?;
        if self.head_sent || self.interims == MAX_INTERIM {
            return Err(SendError::HeadSent);
        }
        self.interims += 1;
        sink.interim(head);
        Ok(())
    }

    /// Keeps the fields for the `100 Continue` that goes out with the first read, and for those the
    /// application sends itself.
    pub fn prepare_continue(&mut self, head: ResponseHead) {
        self.continue_head = Some(head);
    }

    /// Collects a `100 Continue`; false after the head.
    pub fn send_continue(&mut self, head: &ResponseHead) -> bool {
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
    pub fn continue_head(&self) -> ResponseHead {
        self.continue_head
            .clone()
            .unwrap_or_else(|| ResponseHead::interim(100, "Continue"))
    }
}
