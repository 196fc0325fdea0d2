//! The part of the request body that did not travel with the request: read from the client when
//! the application asks, and sent on as frames.
//!
//! Runs in: an Apache child. Nothing is read before the application asks for it, so a client that
//! waits for `100 Continue` gets it when the application wants the body and not before. One
//! exception: where the client does not take the response because it is still sending, its body is
//! read ahead, up to a bound, so that the two do not wait for each other.

use std::io;
use std::time::{Duration, Instant};

use wire::frame::{self, Kind, HEAD_LEN};
use wire::response::BodyFailure;
use wire::Malformed;

use super::client::{BodyRead, Client, Step};
use super::worker::WorkerConnection;

/// Bytes of body in one frame, and read from the client before they are sent on.
const WINDOW: usize = 64 << 10;
/// Bytes that may be read ahead for a client that sends while it should be reading.
const READ_AHEAD: usize = 4 << 20;

/// The body on its way.
#[derive(Debug)]
pub struct Upload {
    state: State,
    /// The application has asked for it.
    pulled: bool,
    /// The client waits for `100 Continue` or for the response: reading would send the former.
    expects_continue: bool,
    /// Nobody wants the rest any more: it is read and dropped.
    abandoned: bool,
    /// FrameReader for the worker, from `sent` on.
    queue: Vec<u8>,
    sent: usize,
    /// When the client last sent something, or was asked to.
    heard: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is none, or all of it was in the request.
    Whole,
    /// The client has more, or may have.
    Open,
    /// Read to its end; the queue says so to the worker.
    Ended,
    /// Not to be had; the queue says so to the worker.
    Failed,
    /// The worker takes no more.
    Refused,
}

impl Upload {
    /// A body the request message holds completely, or none at all.
    pub fn whole() -> Upload {
        Upload {
            state: State::Whole,
            pulled: false,
            expects_continue: false,
            abandoned: false,
            queue: Vec::new(),
            sent: 0,
            heard: None,
        }
    }

    /// A body of which some is still to be read.
    pub fn open(expects_continue: bool) -> Upload {
        Upload {
            state: State::Open,
            expects_continue,
            ..Upload::whole()
        }
    }

    /// The application asks for the body.
    ///
    /// # Errors
    /// It has asked before, or has been given all of it: no well-behaved worker asks then.
    pub fn pull(&mut self) -> Result<(), &'static str> {
        match (self.state, self.pulled) {
            (_, true) => Err("it asked for the request body twice"),
            (State::Whole, _) => Err("it asked for a request body it has been given"),
            _ => {
                self.pulled = true;
                self.heard = Some(Instant::now());
                Ok(())
            }
        }
    }

    /// Whether the application has asked for it.
    pub fn is_pulled(&self) -> bool {
        self.pulled
    }

    /// Whether it is the client's turn: the worker has all there is and waits for more.
    pub fn awaits_client(&self) -> bool {
        self.pulled && self.state == State::Open && self.pending() == 0
    }

    /// Whether it is the worker's turn to take what has been read.
    pub fn awaits_worker(&self) -> bool {
        self.pulled && self.pending() > 0
    }

    /// Whether the client may be sending, so that it may not be reading.
    pub fn may_be_coming(&self) -> bool {
        self.state == State::Open && (self.pulled || !self.expects_continue)
    }

    /// Whether there is room to read ahead.
    pub fn has_room(&self) -> bool {
        self.may_be_coming() && (self.abandoned || self.pending() < READ_AHEAD)
    }

    /// Whether nothing is left to be sent to the worker.
    pub fn is_settled(&self) -> bool {
        // What was dropped were whole frames: others can follow.
        self.pending() == 0 && (self.abandoned || !self.may_be_coming())
    }

    /// Whether the worker has all that was sent of it and waits for no more: what follows on the
    /// connection is not taken for a part of it.
    pub fn leaves_nothing(&self) -> bool {
        match self.state {
            State::Whole => true,
            State::Open => !self.pulled,
            State::Ended => self.pulled && self.pending() == 0,
            State::Failed | State::Refused => false,
        }
    }

    /// The worker is done: what the client still sends is for nobody.
    pub fn abandon(&mut self) {
        self.abandoned = true;
    }

    fn pending(&self) -> usize {
        self.queue.len() - self.sent
    }

    /// What is left of the client's time to send something, of `limit` in all.
    pub fn patience(&self, limit: Duration) -> Duration {
        self.heard
            .map_or(limit, |heard| limit.saturating_sub(heard.elapsed()))
    }

    /// Reads what is here from the client, a window at most. Returns whether anything came, or the
    /// failure that ended it.
    pub fn read(&mut self, client: &mut impl Client) -> Result<bool, BodyFailure> {
        if self.state != State::Open {
            return Ok(false);
        }
        let before = self.queue.len();
        let mut last = BodyRead::Nothing;
        // At once, not by doubling: what is here already would be copied each time.
        self.queue.reserve(HEAD_LEN + WINDOW + HEAD_LEN);
        let framed = frame::append(&mut self.queue, Kind::Body, |out| {
            let start = out.len();
            while out.len() - start < WINDOW {
                last = client.read_body(WINDOW - (out.len() - start), out);
                if last != BodyRead::Some {
                    break;
                }
            }
            if out.len() == start {
                // Takes the head of the frame back.
                return Err(Nothing);
            }
            Ok(())
        });
        let came = framed.is_ok();
        let framed_bytes = self.queue.len().saturating_sub(before + HEAD_LEN);
        let result = self.settle(framed, last, came);
        if came && !self.abandoned {
            client.trace(Step::Sent(Kind::Body, framed_bytes));
        }
        match self.state {
            State::Ended => client.trace(Step::Sent(Kind::BodyEnd, 0)),
            State::Failed => client.trace(Step::Sent(Kind::BodyFailed, 1)),
            State::Whole | State::Open | State::Refused => {}
        }
        if self.abandoned {
            self.queue.truncate(before);
        }
        result
    }

    fn settle(
        &mut self,
        framed: Result<(), NoFrame>,
        last: BodyRead,
        came: bool,
    ) -> Result<bool, BodyFailure> {
        match (framed, last) {
            // Input filters may give more than was asked for, but not a megabyte in one read.
            (Err(Unsendable), _) => Err(self.fail(BodyFailure::Malformed)),
            (_, BodyRead::Failed(cause)) => Err(self.fail(cause)),
            (_, BodyRead::Last) => {
                self.state = State::Ended;
                let ended: Result<(), Malformed> =
                    frame::append(&mut self.queue, Kind::BodyEnd, |_| Ok(()));
                debug_assert!(ended.is_ok());
                Ok(true)
            }
            (_, BodyRead::Some | BodyRead::Nothing) => {
                if came {
                    self.heard = Some(Instant::now());
                }
                Ok(came)
            }
        }
    }

    /// Ends the body early; the worker is told.
    pub fn fail(&mut self, cause: BodyFailure) -> BodyFailure {
        self.state = State::Failed;
        cause.append(&mut self.queue);
        cause
    }

    /// Sends to the worker what it takes. Returns whether it took anything.
    ///
    /// # Errors
    /// Only such as do not mean that the worker has stopped listening: that is no error, its answer
    /// may be on its way.
    pub fn push(&mut self, worker: &mut impl WorkerConnection) -> io::Result<bool> {
        if !self.awaits_worker() {
            return Ok(false);
        }
        match worker.send(&self.queue[self.sent..]) {
            Ok(sent) => {
                self.sent += sent;
                if self.sent >= self.queue.len() {
                    self.queue.clear();
                    self.sent = 0;
                } else if self.sent >= WINDOW {
                    self.queue.drain(..self.sent);
                    self.sent = 0;
                }
                Ok(sent > 0)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                self.state = State::Refused;
                self.queue = Vec::new();
                self.sent = 0;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Why no frame was made of a read.
enum NoFrame {
    Nothing,
    Unsendable,
}
use NoFrame::{Nothing, Unsendable};

impl From<Malformed> for NoFrame {
    fn from(_: Malformed) -> NoFrame {
        Unsendable
    }
}
