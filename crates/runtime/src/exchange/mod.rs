//! One request and its answer without any Python in it: what may be said to the server, in which
//! order and how much of it. So it can be tested without an interpreter.
//!
//! [`Exchange`] is what all Python objects of the request share.
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

#![forbid(unsafe_code)]

pub mod frame_writer;
pub mod log_lines;
pub mod request_body;
pub mod response;
pub mod response_head;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use wire::response::{End, Level, Sent};

use frame_writer::{Outlet, Stream};
use request_body::Body;
use response::{Last, Output};

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

impl Exchange {
    /// An exchange whose body is yet to be given.
    pub fn new(outlet: Box<dyn Outlet>, stream: &Arc<dyn Stream>, facts: Facts) -> Self {
        Self {
            output: Mutex::new(Output::new(outlet)),
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
            output.send_prepared_continue();
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
        let head_sent = output.head_sent();
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

#[cfg(test)]
mod tests;
