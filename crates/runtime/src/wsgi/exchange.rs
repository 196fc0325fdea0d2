//! What one request and its answer are made of, shared by all Python objects of the request.
//!
//! Runs in: request threads, and whatever threads the application hands `wsgi.input`,
//! `wsgi.errors` or `write` to, also after the request's end.
//!
//! Two locks, one for each direction, so that an application may read its input on one thread
//! while another writes. **No thread waits for a lock while it holds the GIL**: [`try_lock`] comes
//! first, and where that fails the GIL is released before waiting. So a thread that holds a lock
//! can always get the GIL, and nobody runs Python code while holding a lock.
//!
//! [`try_lock`]: Mutex::try_lock

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use os::clock::monotonic_us;
use wire::log_id::LogId;
use wire::response::{End, File, Level, Sent, MAX_INTERIM};

use super::body::Body;
use super::head::Head;
use super::lines::Lines;
use super::outlet::{Outlet, Stream};

/// Bytes of body that are best copied and sent together with what stands before them; longer ones
/// are sent from where they are.
pub const COPY_LIMIT: usize = 16 * 1024;

/// One request and its answer.
pub struct Exchange {
    output: Mutex<Output>,
    input: Mutex<Option<Body>>,
    /// Weak: an application that keeps `wsgi.input` must not keep the connection open.
    stream: Weak<dyn Stream>,
    /// Facts that don't change.
    pub facts: Facts,
}

/// What is known of the request from its beginning.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// No body need be sent: the method is HEAD.
    pub head: bool,
    /// The client waits for `100 Continue`.
    pub expects_continue: bool,
    /// Interim responses can be sent at all.
    pub interim: bool,
}

/// The answer so far.
pub struct Output {
    outlet: Option<Box<dyn Outlet>>,
    head: Option<Head>,
    head_sent: bool,
    /// Body bytes still owed to a declared Content-Length.
    owed: Option<u64>,
    /// The body is dropped: HEAD, 204, 304.
    mute: bool,
    /// The server is gone; why.
    lost: Option<io::ErrorKind>,
    lines: Lines,
    interims: u32,
    /// A `100 Continue` has gone out.
    continued: bool,
    continue_head: Option<Head>,
    /// The last word says that the connection is kept.
    kept: bool,
    /// What stands in line waits for more to go with it. See [`Output::hold`].
    held: bool,
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

/// How the response went, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    Told(Sent),
    /// The client had closed its side before the response was complete.
    ClientClosed,
    /// The server made the response itself, or is still sending.
    Unknown,
}

/// What became of a request that its thread was not waited for with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    Answered,
    /// It was over already.
    Over,
    /// The thread is in the midst of sending.
    Sending,
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

impl Exchange {
    /// An exchange whose body is yet to be given.
    pub fn new(outlet: Box<dyn Outlet>, stream: &Arc<dyn Stream>, facts: Facts) -> Self {
        Self {
            output: Mutex::new(Output {
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
            }),
            input: Mutex::new(None),
            stream: Arc::downgrade(stream),
            facts,
        }
    }

    /// Gives the request its body. Before the application is called.
    pub fn set_body(&self, body: Body) {
        *self.wait_input() = Some(body);
    }

    /// The answer, if no other thread is at it. See the module's rule.
    pub fn try_output(&self) -> Option<MutexGuard<'_, Output>> {
        unblocked(self.output.try_lock())
    }

    /// The answer. Only with the GIL released.
    pub fn wait_output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body, if no other thread is at it; `None` inside when the request is over.
    pub fn try_input(&self) -> Option<MutexGuard<'_, Option<Body>>> {
        unblocked(self.input.try_lock())
    }

    /// The body; `None` when the request is over. Only with the GIL released.
    pub fn wait_input(&self) -> MutexGuard<'_, Option<Body>> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the server to send the rest of the body, after the interim response that the
    /// application prepared for this moment. Only with the GIL released.
    pub fn pull(&self) {
        let mut output = self.wait_output();
        if self.facts.expects_continue {
            if let Some(head) = output.continue_head.clone().filter(|_| !output.continued) {
                output.send_continue(&head);
            }
        }
        if let Some(outlet) = output.outlet.as_mut() {
            outlet.pull();
        }
        output.flush();
    }

    /// Sends what is left and ends the request: whatever Python objects still refer to it raise
    /// from now on. Returns the memory used, for the next request. Only with the GIL released.
    pub fn finish(&self, last: Option<Last>) -> Memories {
        memories(self.finish_both(last))
    }

    /// [`Exchange::finish`] where nothing has to be waited for, with the GIL or without. `None` where
    /// something has; [`Exchange::finish`] then goes on with what is left in `last`.
    pub fn finish_at_once(&self, last: &mut Option<Last>) -> Option<Memories> {
        let mut input = unblocked(self.input.try_lock())?;
        let mut output = unblocked(self.output.try_lock())?;
        // In this order: see `finish_both`.
        let body = input.take();
        output.conclude(last.take(), body.as_ref());
        if !output.flush_at_once() {
            *input = body;
            return None;
        }
        Some(memories((self.close_output(output), body)))
    }

    /// [`Exchange::finish`], and waits until the response is out or the client has left, for `limit`
    /// at most.
    pub fn finish_and_wait(&self, last: Last, limit: Duration) -> Delivery {
        let since = Instant::now();
        let (_, Some(mut body)) = self.finish_both(Some(last)) else {
            return Delivery::Unknown;
        };
        if let Some(sent) = body.sent(limit) {
            return Delivery::Told(sent);
        }
        // A client that has closed its side is told of by the end of what comes in: so the word
        // itself can't be had. The server closes when it is done.
        let left = limit.saturating_sub(since.elapsed());
        let closed = self
            .stream
            .upgrade()
            .is_none_or(|stream| stream.is_closed_within(left));
        match last {
            Last::End(_) if closed => Delivery::ClientClosed,
            _ => Delivery::Unknown,
        }
    }

    /// Sends what [`Output::hold`] has left in line. Waits for nothing.
    pub fn send_held(&self) {
        // Who is at the answer just now sends it, or looks whether anybody will.
        if let Some(mut output) = self.try_output().filter(|output| output.held) {
            output.flush_at_once();
        }
    }

    /// Whether the client has closed its side of the connection or lost it. Does not wait.
    pub fn client_has_left(&self) -> bool {
        self.stream
            .upgrade()
            .is_none_or(|stream| stream.is_ending())
    }

    /// Ends the request in place of the thread that serves it: with `status` and `text`, or with a
    /// broken `end` where a response had begun. Waits for nothing.
    pub fn abandon(&self, status: u16, text: &str, end: End, record: &str) -> Abandoned {
        let Some(mut output) = self.try_output() else {
            return Abandoned::Sending;
        };
        let head_sent = output.head_sent;
        let Some(outlet) = output.outlet.as_mut() else {
            return Abandoned::Over;
        };
        if !record.is_empty() {
            outlet.log(Level::Error, record.as_bytes());
        }
        if head_sent {
            outlet.log(Level::Error, text.as_bytes());
            outlet.end(end);
        } else {
            outlet.fail(status, text);
        }
        let stream = self.stream.upgrade();
        if let Some(stream) = &stream {
            stream.hurry();
        }
        output.flush();
        output.outlet = None;
        output.lost = Some(io::ErrorKind::ConnectionAborted);
        drop(output);
        // A thread that waits for input learns that there is none.
        if let Some(stream) = stream {
            stream.shutdown();
        }
        Abandoned::Answered
    }

    /// The input first where it is free: with the last word the next request may come in, and find
    /// this one not quite over.
    fn finish_both(&self, last: Option<Last>) -> (Option<Box<dyn Outlet>>, Option<Body>) {
        let early = unblocked(self.input.try_lock()).map(|mut input| input.take());
        let mut output = self.wait_output();
        output.conclude(last, early.as_ref().and_then(Option::as_ref));
        output.flush();
        let outlet = self.close_output(output);
        (outlet, early.unwrap_or_else(|| self.finish_input()))
    }

    fn close_output(&self, mut output: MutexGuard<'_, Output>) -> Option<Box<dyn Outlet>> {
        if output.kept && output.outlet.is_some() && output.lost.is_none() {
            if let Some(stream) = self.stream.upgrade() {
                stream.keep();
            }
        }
        output.outlet.take()
    }

    fn finish_input(&self) -> Option<Body> {
        match unblocked(self.input.try_lock()) {
            Some(mut input) => input.take(),
            None => {
                // A thread of the application waits for input: wake it, then the lock is free soon.
                if let Some(stream) = self.stream.upgrade() {
                    stream.shutdown();
                }
                self.wait_input().take()
            }
        }
    }
}

/// What the answer was collected in and what the body was read into.
type Memories = (Vec<u8>, Vec<u8>);

fn memories((outlet, body): (Option<Box<dyn Outlet>>, Option<Body>)) -> Memories {
    (
        outlet.map_or_else(Vec::new, |outlet| outlet.into_memory()),
        body.map_or_else(Vec::new, Body::into_memory),
    )
}

fn unblocked<T>(result: Result<T, TryLockError<T>>) -> Option<T> {
    match result {
        Ok(guard) => Some(guard),
        // A panic behind the lock was reported where it happened; the values stay usable.
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl Output {
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
    fn conclude(&mut self, last: Option<Last>, body: Option<&Body>) {
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

    /// The fields prepared for `100 Continue`.
    pub fn continue_head(&self) -> Head {
        self.continue_head
            .clone()
            .unwrap_or_else(|| Head::interim(100, "Continue"))
    }
}

#[cfg(test)]
mod tests;
