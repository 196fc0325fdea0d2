//! The part of the request body that did not travel with the request: sent to the worker as frames
//! when the application asks for it.
//!
//! Runs in: an Apache child. A part of it may be here already ([`super::early_body`]): in a temporary
//! file, and behind that in memory. The rest is read from the client, not before the application asks
//! for it. One exception: where the client does not take the response because it is still sending,
//! its body is read ahead, up to a bound, so that the two do not wait for each other.
//!
//! A client that waits for `100 Continue` gets it when the application wants the body and not before.

use std::io;
use std::time::{Duration, Instant};

use wire::frame::{self, Kind, HEAD_LEN};
use wire::response::BodyFailure;
use wire::Malformed;

use super::client::{BodyRead, Client, Step};
use super::spool::Spool;
use super::worker::WorkerConnection;

/// Bytes of body in one frame, and read from the client before they are sent on.
pub const WINDOW: usize = 64 << 10;
/// Bytes that may be read ahead for a client that sends while it should be reading.
const READ_AHEAD: usize = 4 << 20;

/// The body on its way.
#[derive(Debug)]
pub struct Upload {
    state: State,
    /// The application has asked for it.
    pulled: bool,
    /// Bytes at the front of the queue that the client's trace has not seen: they were read before
    /// there was a worker.
    untraced: usize,
    /// The client waits for `100 Continue` or for the response: reading would send the former.
    expects_continue: bool,
    /// Nobody wants the rest any more: it is read and dropped.
    abandoned: bool,
    /// Bytes of the body in a temporary file: they come first.
    spool: Option<Spool>,
    /// Frames of those that were read back.
    read_back: Frames,
    /// Frames of what is behind them.
    queue: Frames,
    /// When the client last sent something, or was asked to.
    client_sent: Option<Instant>,
}

/// Frames for the worker.
#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
    /// So many of the bytes are sent.
    sent: usize,
}

impl Frames {
    fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Sends what the worker takes.
    fn send(&mut self, worker: &mut impl WorkerConnection) -> io::Result<usize> {
        let sent = worker.send(&self.bytes[self.sent..])?;
        self.sent += sent;
        if self.sent >= self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        } else if self.sent >= WINDOW {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        Ok(sent)
    }
}

/// Why nothing more can be sent to the worker.
#[derive(Debug)]
pub enum PushError {
    /// The connection has failed.
    Connection(io::Error),
    /// The temporary file can't be read back.
    Spool(io::Error),
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
            untraced: 0,
            expects_continue: false,
            abandoned: false,
            spool: None,
            read_back: Frames::default(),
            queue: Frames::default(),
            client_sent: None,
        }
    }

    /// Whether the request message holds all of it.
    pub fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    /// A body of which some is still to be read.
    pub fn open(expects_continue: bool) -> Upload {
        Upload {
            state: State::Open,
            expects_continue,
            ..Upload::whole()
        }
    }

    /// A body of which some is here: what is in `spool`, and then `frames`. All of it where it has
    /// ended.
    pub fn begun(frames: Vec<u8>, spool: Option<Spool>, has_ended: bool) -> Upload {
        let mut upload = Upload::open(false);
        upload.spool = spool.filter(|spool| !spool.is_empty());
        upload.queue.bytes = frames;
        if has_ended {
            upload.ended();
        }
        upload.untraced = upload.queue.bytes.len();
        upload
    }

    /// The application asks for the body.
    ///
    /// # Errors
    /// It has asked before, or has been given all of it: no well-behaved worker asks then.
    pub fn pull(&mut self, client: &mut impl Client) -> Result<(), &'static str> {
        match (self.state, self.pulled) {
            (_, true) => Err("it asked for the request body twice"),
            (State::Whole, _) => Err("it asked for a request body it has been given"),
            _ => {
                self.pulled = true;
                self.client_sent = Some(Instant::now());
                let early = std::mem::take(&mut self.untraced).min(self.queue.bytes.len());
                let mut early = &self.queue.bytes[..early];
                while let Ok(Some((frame, payload, rest))) = frame::split(early) {
                    client.trace(Step::Sent(frame.kind, payload.len()));
                    early = rest;
                }
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
        self.may_be_coming() && (self.abandoned || self.queue.len() < READ_AHEAD)
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
            State::Ended => !self.pulled || self.pending() == 0,
            State::Failed | State::Refused => false,
        }
    }

    /// The worker is done: what the client still sends is for nobody, and what is here of a body that
    /// was never asked for neither.
    pub fn abandon(&mut self) {
        self.abandoned = true;
        self.spool = None;
        if !self.pulled {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.spool = None;
        (self.read_back, self.queue) = (Frames::default(), Frames::default());
    }

    /// Bytes for the worker.
    fn pending(&self) -> u64 {
        let spooled = self.spool.as_ref().map_or(0, Spool::len);
        spooled + (self.read_back.len() + self.queue.len()) as u64
    }

    /// What is left of the client's time to send something, of `limit` in all.
    pub fn patience(&self, limit: Duration) -> Duration {
        self.client_sent
            .map_or(limit, |since| limit.saturating_sub(since.elapsed()))
    }

    /// Reads what is here from the client, a window at most. Returns whether anything came, or the
    /// failure that ended it.
    pub fn read(&mut self, client: &mut impl Client) -> Result<bool, BodyFailure> {
        if self.state != State::Open {
            return Ok(false);
        }
        let before = self.queue.bytes.len();
        let mut last = BodyRead::Nothing;
        // At once, not by doubling: what is here already would be copied each time.
        self.queue.bytes.reserve(HEAD_LEN + WINDOW + HEAD_LEN);
        let framed = frame::append(&mut self.queue.bytes, Kind::Body, |out| {
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
        let framed_bytes = self.queue.bytes.len().saturating_sub(before + HEAD_LEN);
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
            self.queue.bytes.truncate(before);
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
                self.ended();
                Ok(true)
            }
            (_, BodyRead::Some | BodyRead::Nothing) => {
                if came {
                    self.client_sent = Some(Instant::now());
                }
                Ok(came)
            }
        }
    }

    fn ended(&mut self) {
        self.state = State::Ended;
        let ended: Result<(), Malformed> =
            frame::append(&mut self.queue.bytes, Kind::BodyEnd, |_| Ok(()));
        debug_assert!(ended.is_ok());
    }

    /// Ends the body early; the worker is told.
    pub fn fail(&mut self, cause: BodyFailure) -> BodyFailure {
        self.state = State::Failed;
        cause.append(&mut self.queue.bytes);
        cause
    }

    /// Sends the worker as much as its socket accepts. Returns whether that was anything.
    ///
    /// # Errors
    /// Not where the worker has stopped listening: its answer may be on its way.
    pub fn push(
        &mut self,
        worker: &mut impl WorkerConnection,
        client: &mut impl Client,
    ) -> Result<bool, PushError> {
        if !self.awaits_worker() {
            return Ok(false);
        }
        self.read_back(client)?;
        let frames = match self.read_back.len() {
            0 => &mut self.queue,
            _ => &mut self.read_back,
        };
        match frames.send(worker) {
            Ok(sent) => Ok(sent > 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                self.state = State::Refused;
                self.forget();
                Ok(false)
            }
            Err(error) => Err(PushError::Connection(error)),
        }
    }

    /// Makes the next frame of what is in the file. When all was read back the file is gone.
    fn read_back(&mut self, client: &mut impl Client) -> Result<(), PushError> {
        let Some(spool) = self.spool.as_mut().filter(|_| self.read_back.len() == 0) else {
            return Ok(());
        };
        let out = &mut self.read_back.bytes;
        out.reserve(HEAD_LEN + WINDOW);
        let mut len = 0;
        let framed = frame::append(out, Kind::Body, |out| match spool.take(WINDOW, out) {
            Ok(taken) => {
                len = taken;
                Ok(())
            }
            Err(error) => Err(PushError::Spool(error)),
        });
        if spool.is_empty() {
            self.spool = None;
        }
        client.trace(Step::Sent(Kind::Body, len));
        framed
    }
}

impl From<Malformed> for PushError {
    fn from(malformed: Malformed) -> PushError {
        PushError::Spool(io::Error::new(io::ErrorKind::InvalidData, malformed))
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
