//! One conversation with one worker: sends the request, receives frames, and applies them to the
//! client's response.
//!
//! Runs in: an Apache child, on the thread that serves the request. A single loop: it handles all
//! received frames, moves the request body on, reads the socket until it is empty, and only then
//! waits. It blocks only in that wait, and in the client's own filters once the worker is done.
//!
//! System calls of a small request over a pooled connection: `sendmsg`, `poll`, `recvmsg`. A
//! blocking receive would save the `poll` but cost more: the kernel also wakes it when the worker
//! reads the request, because the socket then has space for another. The first `poll` comes before
//! the first receive, since no answer can have arrived yet; later the socket is read first.

mod delivery;
mod waiting;

use std::io;
use std::time::{Duration, Instant};

use wire::frame::{Kind, HEAD_LEN};
use wire::response::{decode_head, BodyFailure, End, Fail, Log, Retry, Sent, MAX_INTERIM};

use super::client::{Client, Step};
use super::failure::{Progress, ProtocolViolation, RelayFailure, RetryReason};
use super::frame_reader::{Filled, FrameReader, Piece};
use super::response_body::ResponseBody;
use super::response_buffer::ResponseBuffer;
use super::response_head;
use super::upload::PushError;
use super::worker::{Interest, WorkerConnection};
use super::{RelayOutcome, RelayRequest};

/// How long a worker may still send log records after its response is no longer wanted.
const LOG_GRACE: Duration = Duration::from_secs(2);

/// How a conversation ended.
#[derive(Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// The request is finished.
    Finished(RelayOutcome),
    /// No application code has seen the request: it may be sent to another worker.
    Retry(RetryReason),
}

/// Why the loop stops.
enum Stop {
    Result(AttemptResult),
    Failed(RelayFailure),
    Gone,
}

/// The progress of the response.
enum Phase {
    /// No head yet.
    Waiting,
    /// The head was sent to the client.
    Relaying(ResponseBody),
    /// The answer to a question has come; the end has not.
    Answered,
    /// The client gets nothing more; the worker may finish until then.
    Discarding(RelayOutcome, Instant),
}

/// One conversation.
pub struct Conversation<'x, 'o, P, C> {
    worker: &'x mut P,
    client: &'x mut C,
    request: &'x mut RelayRequest<'o>,
    frames: FrameReader,
    phase: Phase,
    /// Application code may have run.
    begun: bool,
    interims: u32,
    /// Files that came as a part of the response.
    files: u32,
    /// Response data that the client has not accepted yet.
    buffered: ResponseBuffer<'o>,
    /// A part of the body was sent to the client.
    delivered: bool,
    /// Known free space in the client's socket buffer: a new socket has some.
    credit: usize,
    /// When a slow client last accepted data.
    client_took: Instant,
    /// Bytes that may still be in the client's filters; the head counts as one.
    unflushed: usize,
    /// They are flushed as soon as the client's socket is writable.
    flush_is_due: bool,
    /// The socket is most likely empty.
    dry: bool,
    /// Since when the child waits for the worker.
    waited_for: Instant,
    nap: Duration,
    /// The worker wants to know how the response went.
    awaited: bool,
    /// The client has closed its side.
    half_close: HalfClose,
    /// Since when the worker is known to have the request, on a pooled connection.
    read_since: Option<Instant>,
}

/// The state of a client that closes its side of the connection. It may have disconnected, or may
/// only have finished sending. So the application can query the event, and the child goes on
/// sending the response, which fails soon if the client has disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HalfClose {
    No,
    /// It has closed its side. The worker hears of it once it has all of the request body.
    Seen,
    Told,
}

impl<'x, 'o, P: WorkerConnection, C: Client> Conversation<'x, 'o, P, C> {
    /// A conversation over `worker`, a connection on which no other is under way.
    pub fn new(worker: &'x mut P, client: &'x mut C, request: &'x mut RelayRequest<'o>) -> Self {
        let credit = client.socket().map_or(0, |_| delivery::SMALL_WRITE);
        Conversation {
            worker,
            client,
            frames: FrameReader::default(),
            phase: Phase::Waiting,
            begun: false,
            interims: 0,
            files: 0,
            buffered: ResponseBuffer::new(
                request.limits.response_buffer,
                request.spool,
                request.limits.spool_after,
            ),
            delivered: false,
            credit,
            client_took: Instant::now(),
            unflushed: 0,
            flush_is_due: false,
            dry: true,
            waited_for: Instant::now(),
            nap: Duration::from_millis(1),
            awaited: false,
            half_close: HalfClose::No,
            read_since: None,
            request,
        }
    }

    /// Whether both sides are through with the request, after a conversation that ended with
    /// `result`, and nothing of it is under way.
    pub fn is_reusable(&self, result: &AttemptResult) -> bool {
        matches!(result, AttemptResult::Finished(RelayOutcome::Complete(end)) if end.keep_alive)
            && self.frames.are_over()
            && !self.awaited
            && self.half_close != HalfClose::Told
            && self.request.upload.leaves_nothing()
    }

    /// Has the conversation.
    pub fn converse(&mut self) -> AttemptResult {
        let stop = match self.send_request() {
            Err(stop) => stop,
            Ok(()) => loop {
                if let Err(stop) = self.step() {
                    break stop;
                }
            },
        };
        if self.client.asks() {
            self.frames.wipe();
        }
        match stop {
            Stop::Result(result) => {
                if self.awaited {
                    self.tell(false);
                }
                result
            }
            Stop::Gone => {
                self.tell(true);
                AttemptResult::Finished(RelayOutcome::Gone)
            }
            Stop::Failed(failure) => {
                let outcome = self.end_in(&failure);
                if self.awaited {
                    self.tell(false);
                }
                AttemptResult::Finished(outcome)
            }
        }
    }

    /// Tells the worker how the response went. Best effort: where the worker has not taken all of
    /// the request body, these bytes would be taken for a part of it.
    fn tell(&mut self, aborted: bool) {
        if self.half_close == HalfClose::Told || !self.request.upload.is_settled() {
            return;
        }
        let mut frame = Vec::new();
        let bytes = self.client.bytes_sent();
        let aborted = aborted || self.client.is_gone();
        Sent { aborted, bytes }.append(&mut frame);
        // A worker that has exited needs no report.
        let _ = self.worker.send(&frame);
        self.client
            .trace(Step::Sent(Kind::Sent, frame.len() - HEAD_LEN));
    }

    fn end_in(&mut self, failure: &RelayFailure) -> RelayOutcome {
        match std::mem::replace(&mut self.phase, Phase::Waiting) {
            // What the client gets was decided before; a worker that dies now changes nothing.
            Phase::Discarding(outcome, _) => outcome,
            Phase::Waiting | Phase::Answered => {
                if !failure.text.is_empty() {
                    self.client.report(failure);
                }
                RelayOutcome::Status(failure.status)
            }
            Phase::Relaying(_) => {
                self.client.report(failure);
                if self.delivered {
                    // A client that has got a part gets all that there is. Whether it is still
                    // there does not matter any more.
                    let _ = self.deliver_all(false);
                }
                self.client.break_off();
                RelayOutcome::Broken
            }
        }
    }

    /// Sends the request. Until it is complete no worker can have run it.
    fn send_request(&mut self) -> Result<(), Stop> {
        let mut sent = 0;
        while sent < self.request.message.len() {
            match self.worker.send(&self.request.message[sent..]) {
                Ok(more) => sent += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut left = self.workers_time();
                    if left == Duration::ZERO {
                        return Err(self.silent());
                    }
                    if self.worker.is_pooled() {
                        left = left.min(self.time_to_withdraw());
                        if left == Duration::ZERO {
                            return Err(self.shut());
                        }
                    }
                    let room = Interest {
                        to_worker: true,
                        ..Interest::default()
                    };
                    self.wait_for(room, left)?;
                }
                Err(error) if is_lost(&error) => return Err(self.shut()),
                Err(error) => return Err(self.failure(RelayFailure::connection, &error)),
            }
        }
        self.waited_for = Instant::now();
        self.client
            .trace(Step::Sent(Kind::Request, sent.saturating_sub(HEAD_LEN)));
        Ok(())
    }

    fn step(&mut self) -> Result<(), Stop> {
        let mut has_all = false;
        while !has_all && !self.is_full() {
            match self.frames.next_piece() {
                Ok(Some(piece)) => self.take(piece)?,
                Ok(None) => has_all = true,
                Err(why) => return Err(self.violation(why)),
            }
        }
        self.move_body()?;
        if !has_all || !self.gathers() {
            self.drain(false)?;
        }
        if self.is_full() || (has_all && self.dry) {
            return self.wait();
        }
        if !has_all {
            return Ok(());
        }
        match self.frames.fill(self.worker) {
            Ok(Filled::Some { dry }) => self.dry = dry,
            Ok(Filled::Nothing) => self.dry = true,
            // Its end was there before the request.
            Ok(Filled::End) if self.worker.is_pooled() && self.worker.unread() == Some(true) => {
                return Err(self.shut());
            }
            Ok(Filled::End) => return Err(self.cut(None)),
            // A worker that closes its socket with the request unread resets the connection; one
            // that had read it leaves a plain end.
            Err(error) if is_lost(&error) && !self.begun => {
                return Err(retry(RetryReason::LeftUnread))
            }
            Err(error) => return Err(self.cut(Some(&error))),
        }
        Ok(())
    }

    /// The process behind the connection has exited or is stopped, so it accepts no request, and
    /// the other pooled connections to it are no better.
    fn shut(&self) -> Stop {
        self.worker.forget();
        retry(RetryReason::LeftUnread)
    }

    /// Deals with one piece of the answer.
    fn take(&mut self, piece: Piece) -> Result<(), Stop> {
        let (kind, range) = match piece {
            Piece::Data(part) => {
                self.client.trace(Step::Received(Kind::Data, part.len()));
                self.waited_for = Instant::now();
                return self.data(part);
            }
            Piece::Frame(kind, range) => (kind, range),
        };
        self.client.trace(Step::Received(kind, range.len()));
        let payload = self.frames.bytes(&range);
        if kind == Kind::Log {
            // A log record does not extend the time limit: a worker could send them forever.
            let record = Log::decode(payload).map_err(|why| self.violation(why.into()))?;
            self.client.log(record.level, record.text);
            return Ok(());
        }
        self.waited_for = Instant::now();
        if matches!(self.phase, Phase::Discarding(..)) {
            return match kind {
                Kind::End | Kind::Fail | Kind::Retry => Err(self.cut(None)),
                _ => Ok(()),
            };
        }
        match kind {
            Kind::Retry => {
                let why = Retry::decode(payload).map_err(|why| self.violation(why.into()))?;
                if self.begun {
                    return Err(self.disorder("it handed back a request it had begun"));
                }
                return Err(retry(RetryReason::HandedBack(why)));
            }
            Kind::Fail => {
                let fail = Fail::decode(payload).map_err(|why| self.violation(why.into()))?;
                if !matches!(self.phase, Phase::Waiting) {
                    return Err(self.disorder("it reported a failure after the head"));
                }
                return Err(Stop::Failed(RelayFailure::failed(fail.status, fail.text)));
            }
            Kind::End => {
                let end = End::decode(payload).map_err(|why| self.violation(why.into()))?;
                return Err(self.end(end));
            }
            _ => {}
        }
        self.begun = true;
        if self.client.asks() {
            return self.answer(kind, range);
        }
        match kind {
            Kind::Pull => self
                .request
                .upload
                .pull(self.client)
                .map_err(|what| self.disorder(what)),
            Kind::Interim => self.interim(range),
            Kind::Head => self.head(range),
            Kind::File => self.file(range),
            // The rest was dealt with above, or is refused by `FrameReader`.
            _ => Err(self.disorder("unexpected frame")),
        }
    }

    /// Takes the answer to a question. Of a question that is all that may come, and once.
    fn answer(&mut self, kind: Kind, range: std::ops::Range<usize>) -> Result<(), Stop> {
        if kind != Kind::Answer || !matches!(self.phase, Phase::Waiting) {
            return Err(self.disorder("it sent something else than one answer to a question"));
        }
        self.client.answer(self.frames.bytes(&range));
        self.phase = Phase::Answered;
        Ok(())
    }

    fn interim(&mut self, range: std::ops::Range<usize>) -> Result<(), Stop> {
        self.interims += 1;
        if !matches!(self.phase, Phase::Waiting) || self.interims > MAX_INTERIM {
            return Err(self.disorder("it sent an interim response after the head, or too many"));
        }
        let head =
            decode_head(self.frames.bytes(&range)).map_err(|why| self.violation(why.into()))?;
        response_head::check_interim(&head).map_err(|why| self.unfit(&why))?;
        self.client.interim(&head);
        Ok(())
    }

    fn head(&mut self, range: std::ops::Range<usize>) -> Result<(), Stop> {
        if !matches!(self.phase, Phase::Waiting) {
            return Err(self.disorder("it sent a second head"));
        }
        let head =
            decode_head(self.frames.bytes(&range)).map_err(|why| self.violation(why.into()))?;
        let longest = self.request.limits.header_field;
        if let Some((name, value)) = head
            .fields()
            .find(|(name, value)| name.len() + value.len() > longest)
        {
            let failure = RelayFailure::long_field(self.request.group, name, value.len(), longest);
            return Err(Stop::Failed(failure));
        }
        let head = response_head::check(head).map_err(|why| self.unfit(&why))?;
        let until = Instant::now() + self.request.limits.silence;
        // httpd has no page for a status beyond these, and would make it 500.
        if self.request.error_override && (400..600).contains(&head.status()) {
            self.client.error_head(&head);
            self.phase = Phase::Discarding(RelayOutcome::Status(head.status()), until);
            return Ok(());
        }
        if let Some(location) = head.local_redirect().filter(|_| self.request.may_redirect) {
            self.phase = Phase::Discarding(RelayOutcome::Redirect(location.to_vec()), until);
            return Ok(());
        }
        self.client.head(&head);
        self.unflushed += 1;
        self.phase = Phase::Relaying(ResponseBody {
            declared: head.content_length,
            sent: 0,
            dropped: 0,
            may_be_short: self.request.head_only || head.is_bodiless(),
            ended: false,
        });
        Ok(())
    }

    /// Relays the request body: reads what the client has sent, sends what the worker accepts.
    fn move_body(&mut self) -> Result<(), Stop> {
        loop {
            if self.request.upload.awaits_client() {
                match self.request.upload.read(self.client) {
                    Ok(true) => self.nap = Duration::from_millis(1),
                    Ok(false) => return Ok(()),
                    Err(cause) => self.body_failed(cause),
                }
            }
            if !self.push_body()? {
                return Ok(());
            }
        }
    }

    /// Sends the worker as much of the request body as its socket accepts. Returns whether that was
    /// anything.
    fn push_body(&mut self) -> Result<bool, Stop> {
        match self.request.upload.push(self.worker, self.client) {
            Ok(taken) => {
                if taken {
                    self.waited_for = Instant::now();
                }
                Ok(taken)
            }
            Err(PushError::Connection(error)) => {
                Err(self.failure(RelayFailure::connection, &error))
            }
            Err(PushError::Spool(error)) => {
                Err(self.failure(RelayFailure::upload_spool_lost, &error))
            }
        }
    }

    /// Reads available bytes of the body before the application has asked for them.
    fn read_ahead(&mut self) {
        if let Err(cause) = self.request.upload.read(self.client) {
            self.body_failed(cause);
        }
    }

    /// The body will not be complete. Before the response's head has come, this decides the response.
    /// The application gets an exception either way, and may still write log records.
    fn body_failed(&mut self, cause: BodyFailure) {
        let failure = RelayFailure::upload(cause);
        self.client.report(&failure);
        if matches!(self.phase, Phase::Waiting) {
            let outcome = RelayOutcome::Status(failure.status);
            self.phase = Phase::Discarding(outcome, Instant::now() + LOG_GRACE);
        }
    }

    fn progress(&self) -> Progress {
        let (head, body) = match &self.phase {
            Phase::Relaying(body) => (true, body.sent),
            _ => (false, 0),
        };
        Progress {
            unread: self.worker.unread(),
            answered: self.frames.have_begun(),
            reading: self.request.upload.is_pulled(),
            head,
            body,
        }
    }

    fn silent(&self) -> Stop {
        let limit = self.request.limits.silence;
        Stop::Failed(RelayFailure::silent(
            self.request.group,
            limit,
            self.progress(),
        ))
    }

    fn cut(&self, error: Option<&io::Error>) -> Stop {
        Stop::Failed(RelayFailure::cut(
            self.request.group,
            self.progress(),
            error,
        ))
    }

    fn violation(&self, why: ProtocolViolation) -> Stop {
        Stop::Failed(RelayFailure::malformed(self.request.group, why))
    }

    fn disorder(&self, what: &'static str) -> Stop {
        self.violation(ProtocolViolation::OutOfOrder(what))
    }

    fn unfit(&self, why: &response_head::InvalidHead) -> Stop {
        Stop::Failed(RelayFailure::unfit(self.request.group, why))
    }

    fn failure(&self, make: fn(&[u8], &io::Error) -> RelayFailure, error: &io::Error) -> Stop {
        Stop::Failed(make(self.request.group, error))
    }
}

fn retry(why: RetryReason) -> Stop {
    Stop::Result(AttemptResult::Retry(why))
}

fn is_lost(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
