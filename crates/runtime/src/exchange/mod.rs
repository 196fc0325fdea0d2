//! One request and its response without any Python: what may be sent to the Apache child, in which
//! order and how much. So it can be tested without an interpreter.
//!
//! [`Exchange`] is what all Python objects of the request share.
//!
//! Runs in: request threads, and all threads to which the application gives `wsgi.input`,
//! `wsgi.errors` or `write`, also after the end of the request.
//!
//! There are two locks, one for each direction, so that an application may read its input on one
//! thread while another writes. **No thread waits for a lock while it holds the GIL**: it calls
//! [`try_lock`] first, and if that fails releases the GIL before it waits. So a thread that holds a
//! lock can always get the GIL, and no thread runs Python code while it holds a lock.
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

use frame_writer::{ResponseSink, Stream};
use request_body::RequestBody;
use response::{Conclusion, Response};

/// One request and its response.
pub struct Exchange {
    response: Mutex<Response>,
    input: Mutex<Option<RequestBody>>,
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

/// What became of a request that the main thread tried to end in place of its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    Answered,
    /// It was over already.
    Over,
    /// Its thread is sending.
    Sending,
}

impl Exchange {
    /// An exchange whose body is yet to be given.
    pub fn new(sink: Box<dyn ResponseSink>, stream: &Arc<dyn Stream>, facts: Facts) -> Self {
        Self {
            response: Mutex::new(Response::new(sink)),
            input: Mutex::new(None),
            stream: Arc::downgrade(stream),
            facts,
        }
    }

    /// Gives the request its body. Before the application is called.
    pub fn set_body(&self, body: RequestBody) {
        *self.wait_input() = Some(body);
    }

    /// The response, if no other thread holds its lock. See the module's rule.
    pub fn try_response(&self) -> Option<MutexGuard<'_, Response>> {
        unblocked(self.response.try_lock())
    }

    /// The response. Only with the GIL released.
    pub fn wait_response(&self) -> MutexGuard<'_, Response> {
        self.response.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body, if no other thread holds its lock; `None` inside if the request is over.
    pub fn try_input(&self) -> Option<MutexGuard<'_, Option<RequestBody>>> {
        unblocked(self.input.try_lock())
    }

    /// The body; `None` when the request is over. Only with the GIL released.
    pub fn wait_input(&self) -> MutexGuard<'_, Option<RequestBody>> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the server to send the rest of the body, after the interim response that the
    /// application prepared for this moment. Only with the GIL released.
    pub fn pull(&self) {
        let mut response = self.wait_response();
        if self.facts.expects_continue {
            response.send_prepared_continue();
        }
        if let Some(sink) = response.sink.as_mut() {
            sink.pull();
        }
        response.flush();
    }

    /// Sends what is left and ends the request: Python objects that still refer to it raise from
    /// now on. Returns the buffers, for the next request. Only with the GIL released.
    pub fn finish(&self, last: Option<Conclusion>) -> Buffers {
        buffers(self.finish_both(last))
    }

    /// [`Exchange::finish`] if nothing has to be waited for, with the GIL or without. `None`
    /// otherwise; [`Exchange::finish`] then goes on with what is left in `last`.
    pub fn finish_at_once(&self, last: &mut Option<Conclusion>) -> Option<Buffers> {
        let mut input = unblocked(self.input.try_lock())?;
        let mut response = unblocked(self.response.try_lock())?;
        // In this order: see `finish_both`.
        let body = input.take();
        response.conclude(last.take(), body.as_ref());
        if !response.flush_at_once() {
            *input = body;
            return None;
        }
        Some(buffers((self.close_response(response), body)))
    }

    /// [`Exchange::finish`], and waits until the response is out or the client has left, for `limit`
    /// at most.
    pub fn finish_and_wait(&self, last: Conclusion, limit: Duration) -> Delivery {
        let since = Instant::now();
        let (_, Some(mut body)) = self.finish_both(Some(last)) else {
            return Delivery::Unknown;
        };
        if let Some(sent) = body.sent(limit) {
            return Delivery::Told(sent);
        }
        // If the client closed its side, the child's report may not come; but the child closes the
        // connection when it is done.
        let left = limit.saturating_sub(since.elapsed());
        let closed = self
            .stream
            .upgrade()
            .is_none_or(|stream| stream.is_closed_within(left));
        match last {
            Conclusion::End(_) if closed => Delivery::ClientClosed,
            _ => Delivery::Unknown,
        }
    }

    /// Sends what [`Response::hold`] has held back. Does not wait.
    pub fn send_held(&self) {
        // A thread that holds the lock now sends it, or checks whether the main thread will.
        if let Some(mut response) = self.try_response().filter(|response| response.held) {
            response.flush_at_once();
        }
    }

    /// Whether the client has closed its side of the connection or lost it. Does not wait.
    pub fn client_has_left(&self) -> bool {
        self.stream
            .upgrade()
            .is_none_or(|stream| stream.is_ending())
    }

    /// Ends the request in place of the thread that serves it: with `status` and `text`, or with a
    /// broken `end` if a response had begun. Does not wait.
    pub fn abandon(&self, status: u16, text: &str, end: End, record: &str) -> Abandoned {
        let Some(mut response) = self.try_response() else {
            return Abandoned::Sending;
        };
        let head_sent = response.head_sent();
        let Some(sink) = response.sink.as_mut() else {
            return Abandoned::Over;
        };
        if !record.is_empty() {
            sink.log(Level::Error, record.as_bytes());
        }
        if head_sent {
            sink.log(Level::Error, text.as_bytes());
            sink.end(end);
        } else {
            sink.fail(status, text);
        }
        let stream = self.stream.upgrade();
        if let Some(stream) = &stream {
            stream.hurry();
        }
        response.flush();
        response.sink = None;
        response.lost = Some(io::ErrorKind::ConnectionAborted);
        drop(response);
        // A thread that waits for input learns that there is none.
        if let Some(stream) = stream {
            stream.shutdown();
        }
        Abandoned::Answered
    }

    /// Takes the input first if it is free: after the last frame the next request may arrive, and
    /// must not find this one unfinished.
    fn finish_both(
        &self,
        last: Option<Conclusion>,
    ) -> (Option<Box<dyn ResponseSink>>, Option<RequestBody>) {
        let early = unblocked(self.input.try_lock()).map(|mut input| input.take());
        let mut response = self.wait_response();
        response.conclude(last, early.as_ref().and_then(Option::as_ref));
        response.flush();
        let sink = self.close_response(response);
        (sink, early.unwrap_or_else(|| self.finish_input()))
    }

    fn close_response(
        &self,
        mut response: MutexGuard<'_, Response>,
    ) -> Option<Box<dyn ResponseSink>> {
        if response.keep_alive && response.sink.is_some() && response.lost.is_none() {
            if let Some(stream) = self.stream.upgrade() {
                stream.keep();
            }
        }
        response.sink.take()
    }

    fn finish_input(&self) -> Option<RequestBody> {
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

/// The buffers that the response was collected in and the body was read into.
type Buffers = (Vec<u8>, Vec<u8>);

fn buffers((sink, body): (Option<Box<dyn ResponseSink>>, Option<RequestBody>)) -> Buffers {
    (
        sink.map_or_else(Vec::new, |sink| sink.into_buffer()),
        body.map_or_else(Vec::new, RequestBody::into_buffer),
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
