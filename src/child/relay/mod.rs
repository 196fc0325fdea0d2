//! Carrying one request to a worker and its response back to the client.
//!
//! Runs in: an Apache child, on the thread that serves the request, from the moment the request
//! message is written until the response is complete or given up. Nothing here outlives the
//! request, and nothing here knows httpd: the client is a [`Client`], the worker a
//! [`WorkerConnection`]. So tests and fuzzers can play a hostile worker.
//!
//! A worker runs application code and may have been taken over. These rules limit what it can do
//! (reliability T1 to T5):
//! - Every frame has a bound before it is buffered. A frame that makes no sense ends the
//!   conversation: the client gets 502, the log one line, and the socket is closed.
//! - A response is complete only with its `End`. The client sees that any other response is not.
//! - The head is checked again here. Header fields that belong to the connection are dropped.
//! - A descriptor is accepted only with a `File` frame. Each response has a bound on them, and all
//!   responses of the child together have one ([`descriptors`]).
//! - Every wait has a limit, and log records of the worker do not extend it.
//! - A request that application code may have seen is never sent twice.

pub mod client;
pub mod conversation;
pub mod descriptors;
pub mod early_body;
pub mod failure;
pub mod frame_reader;
pub mod response_body;
mod response_buffer;
pub mod response_head;
pub mod spool;
pub mod upload;
pub mod worker;

use std::time::{Duration, Instant};

use client::{Client, Step};
use conversation::{AttemptResult, Conversation};
use failure::{RelayFailure, RetryReason};
use spool::Place;
use upload::Upload;
use wire::response::End;
use worker::{ConnectionChoice, Dial, DialError, WorkerConnection};

/// The limits of one conversation, from the group's options and httpd's `Timeout`.
#[derive(Debug, Clone, Copy)]
pub struct RelayLimits {
    /// `connect-timeout=`: how long the child tries again while the listen queue is full or nobody
    /// listens.
    pub connect: Duration,
    /// After a worker has handed the request back: how long the child waits for a successor, in all.
    pub successor: Duration,
    /// `socket-timeout=`: longest silence of the worker while the child waits for it.
    pub silence: Duration,
    /// `Timeout`: longest silence of a client that has not sent its whole body.
    pub client: Duration,
    /// `response-socket-timeout=`: how long a client may take nothing of its response.
    pub reader: Duration,
    /// `response-flush-delay=`: how long the worker may send nothing before the client gets what
    /// there is.
    pub flush_delay: Duration,
    /// Bytes that may wait for a flush.
    pub flush_bytes: usize,
    /// `response-buffer-size=`: bytes buffered for a client that does not take them.
    pub response_buffer: usize,
    /// How long a client may hold the worker up, in all, before what it does not take goes to a
    /// temporary file.
    pub spool_after: Duration,
    /// `header-buffer-size=`: longest single header field, name and value.
    pub header_field: usize,
}

/// A request ready to be carried.
#[derive(Debug)]
pub struct RelayRequest<'a> {
    /// Name of the process group, for messages.
    pub group: &'a [u8],
    /// The whole `Request` frame.
    pub message: &'a [u8],
    /// What of the body did not travel in the message.
    pub upload: Upload,
    /// The response has no body whatever its head says: the client asked with HEAD.
    pub head_only: bool,
    /// `WSGIErrorOverride On`.
    pub error_override: bool,
    /// A `200` with a local `Location` is answered from that URL. Not for a request that is itself
    /// such an answer: one hop is allowed.
    pub may_redirect: bool,
    /// Its limits.
    pub limits: RelayLimits,
    /// Where bytes of the response wait that do not fit into memory.
    pub spool: Place<'a>,
}

/// How it ended, for the handler.
#[derive(Debug, PartialEq, Eq)]
pub enum RelayOutcome {
    /// The client has the whole response.
    Complete(End),
    /// The client has a part of it and has been made to see that.
    Broken,
    /// The client left, or httpd's filters refused more.
    Gone,
    /// Nothing has been sent: httpd answers with this status.
    Status(u16),
    /// Nothing has been sent: httpd answers from this local URL.
    Redirect(Vec<u8>),
}

/// Carries `request` to a worker behind `dial` and the response back to `client`.
///
/// What went wrong has been told to [`Client::report`] when this returns.
pub fn relay_request<D: Dial, C: Client>(
    dial: &mut D,
    client: &mut C,
    mut request: RelayRequest<'_>,
) -> RelayOutcome {
    let mut handed_back = HandedBack::default();
    let mut choice = ConnectionChoice::PooledOrNew;
    loop {
        let mut worker = match connect(dial, &request, choice) {
            Ok(worker) => worker,
            Err(failure) => return refuse(client, &failure),
        };
        let is_pooled = worker.is_pooled();
        let pid = worker.pid();
        client.trace(Step::Attempt { is_pooled, pid });
        let mut conversation = Conversation::new(&mut worker, client, &mut request);
        let result = conversation.converse();
        let is_left = conversation.is_reusable(&result);
        let why = match result {
            AttemptResult::Finished(RelayOutcome::Complete(end)) => {
                if is_left {
                    dial.keep(worker, end.pid);
                }
                return RelayOutcome::Complete(end);
            }
            AttemptResult::Finished(outcome) => return outcome,
            AttemptResult::Retry(why) => why,
        };
        client.trace(Step::Returned(why));
        // Closed before another is made.
        drop(worker);
        choice = ConnectionChoice::New;
        if is_pooled && why == RetryReason::LeftUnread {
            // That is how workers say that they have no thread to spare, or had closed it before.
            continue;
        }
        match handed_back.next_pause(why, request.limits.successor) {
            Some(pause) => std::thread::sleep(pause),
            None => {
                let failure = RelayFailure::handed_back(request.group, handed_back.times, why);
                return refuse(client, &failure);
            }
        }
    }
}

fn refuse<C: Client>(client: &mut C, failure: &RelayFailure) -> RelayOutcome {
    client.report(failure);
    RelayOutcome::Status(failure.status)
}

/// Connects. Tries again while the listen queue is full or the listener is not there yet. An error
/// that does not pass by itself, such as a path that does not exist, ends it at once.
fn connect<D: Dial>(
    dial: &mut D,
    request: &RelayRequest<'_>,
    choice: ConnectionChoice,
) -> Result<D::Connection, RelayFailure> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let left = request.limits.connect.saturating_sub(started.elapsed());
        match dial.dial(left, choice) {
            Ok(worker) => return Ok(worker),
            Err(DialError::Later(_)) if left > Duration::ZERO => {
                std::thread::sleep(pause.min(left));
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Err(DialError::Later(error)) => {
                return Err(RelayFailure::no_listener(
                    request.group,
                    request.limits.connect,
                    &error,
                ));
            }
            Err(DialError::Never(error)) => {
                return Err(RelayFailure::unreachable(
                    request.group,
                    &dial.place(),
                    &error,
                ));
            }
        }
    }
}

/// How often and since when a request has come back unread.
#[derive(Debug, Default)]
struct HandedBack {
    first: Option<Instant>,
    times: u32,
    /// Of these, how often because a worker went without a word.
    lost: u32,
}

impl HandedBack {
    /// The usual bound is time. This one stops a hostile worker that hands requests back at once,
    /// again and again.
    const MOST: u32 = 1000;
    /// A worker that exits without an answer may have died of this very request, while it loaded the
    /// script. No further workers are risked.
    const MOST_LOST: u32 = 10;

    /// How long to wait before the next try; `None` when there is to be none.
    ///
    /// The first tries follow at once: each idle thread of a leaving worker hands back at most one
    /// request. After that a successor is being started, and looking often would only slow it down.
    fn next_pause(&mut self, why: RetryReason, patience: Duration) -> Option<Duration> {
        let first = *self.first.get_or_insert_with(Instant::now);
        self.times += 1;
        self.lost += u32::from(why == RetryReason::LeftUnread);
        let too_often = self.times > Self::MOST || self.lost >= Self::MOST_LOST;
        if too_often || first.elapsed() >= patience {
            return None;
        }
        Some(match self.times {
            ..=2 => Duration::ZERO,
            times => Duration::from_millis(1 << (times - 3).min(5)),
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
