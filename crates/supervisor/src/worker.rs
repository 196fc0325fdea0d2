//! One worker process as its supervisor sees it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use os::process::{Child, Exit};
use os::shared::Shared;
use os::signal::{SIGKILL, SIGTERM};
use os::socket::{self, Wait};
use os::spawn::{Command, Failure};
use wire::codec::Bytes;
use wire::control::{FromWorker, ReplacementReason, ToWorker, WorkerSetup, MAX_MESSAGE};
use wire::scoreboard::{self, ScoreboardCopy};

use crate::error_log::ErrorLog;
use crate::worker_output::{Pipe, WorkerOutput};

/// What a worker gets beyond the time it was given to leave before it is killed.
const GRACE: Duration = Duration::from_millis(250);
/// How long the end of a process may come after the end of its conversation: the kernel closes
/// the descriptors of a dying process first.
const SILENCE: Duration = Duration::from_millis(250);
/// Messages taken from a worker in one turn.
const MAX_TURN: usize = 16;
/// Requests to be replaced that a worker may make: a first, and one that is more urgent.
const MAX_LEAVING: u32 = 2;

/// Where a worker is in its life. Moments are of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Executed, not ready yet.
    Starting { since: Duration },
    /// Takes requests.
    Ready { since: Duration },
    /// Takes no more requests, and finishes those it has.
    Draining { until: Duration },
    /// Told to leave at once.
    Stopping { until: Duration },
    /// Killed; its end is awaited.
    Killed,
}

/// What a worker brought about.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The program could not be executed as it should.
    NotStarted(Failure),
    Ready,
    ReplacementReason(ReplacementReason),
    Unusable(String),
    /// It was asked for this script.
    Loaded((Bytes, Bytes)),
    /// It can't load a script, and leaves to its peers.
    CannotLoad(Bytes),
    /// It said something nobody understands; it has been killed.
    Violation(String),
    Ended(Exit),
}

/// Which descriptor of a worker is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerSource {
    Process,
    Start,
    Control,
    Log,
}

#[derive(Debug)]
pub struct Worker {
    /// Unique in the group, in order of starting.
    pub id: u64,
    pub generation: u32,
    /// The program it was started from.
    pub python: Vec<u8>,
    pub started: Duration,
    pub phase: Phase,
    /// Why it asked to be replaced.
    pub leaving: Option<ReplacementReason>,
    /// It has loaded a script, or will have when it is ready.
    pub has_loaded: bool,
    /// It has run for long enough, or grown too large.
    pub worn: bool,
    leaving_count: u32,
    child: Child,
    /// `None` once the worker has closed its end.
    control: Option<OwnedFd>,
    /// When it is to have ended, once it has closed its end.
    silent_until: Option<Duration>,
    log: Option<WorkerOutput>,
    /// Where it shows what it does. `None` on a system that lacks such memory.
    board: Option<Shared>,
    ended: bool,
}

impl Worker {
    /// Starts the process `command` describes, but for its descriptors, and tells it what it is.
    /// It has so many request threads.
    ///
    /// # Errors
    /// Where no process could be made.
    pub fn start(
        id: u64,
        generation: u32,
        command: impl for<'fd> FnOnce([BorrowedFd<'fd>; 6]) -> Command<'fd>,
        listener: BorrowedFd<'_>,
        threads: u32,
        setup: &[u8],
        now: Duration,
    ) -> io::Result<Self> {
        let (own, theirs) = socket::seqpacket_pair()?;
        let (log_reader, log_writer) = os::descriptor::pipe()?;
        let null = os::descriptor::null()?;
        let log = log_writer.as_fd();
        // The setup is one packet: there must be room for the largest.
        socket::set_buffers(own.as_fd(), 2 * MAX_MESSAGE as u32, 0)?;
        socket::send(own.as_fd(), &[IoSlice::new(setup)], None, Wait::Never)?;
        // Without it the worker works as well, and shows nothing.
        let board = Shared::create("wsgi-board", scoreboard::cells(threads)).ok();
        let shown = board.as_ref().map_or(null.as_fd(), AsFd::as_fd);
        let command = command([null.as_fd(), log, log, listener, theirs.as_fd(), shown]);
        let child = command.spawn()?;
        let pid = child.pid();
        Ok(Self {
            id,
            generation,
            python: command.program,
            started: now,
            phase: Phase::Starting { since: now },
            leaving: None,
            has_loaded: false,
            worn: false,
            leaving_count: 0,
            child,
            control: Some(own),
            silent_until: None,
            log: Some(WorkerOutput::new(log_reader, pid)?),
            board,
            ended: false,
        })
    }

    /// Names the group in whatever the worker prints.
    pub fn of_group(mut self, name: &[u8]) -> Self {
        if let Some(log) = &mut self.log {
            log.name(name);
        }
        self
    }

    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    pub fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. })
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. })
    }

    /// Takes no requests any more, and has not ended yet.
    pub fn is_on_its_way_out(&self) -> bool {
        !self.is_starting() && !self.is_ready()
    }

    /// Since when it has been ready.
    pub fn ready_since(&self) -> Option<Duration> {
        match self.phase {
            Phase::Ready { since } => Some(since),
            _ => None,
        }
    }

    /// For how long it has been ready.
    pub fn ready_for(&self, now: Duration) -> Option<Duration> {
        match self.phase {
            Phase::Ready { since } => Some(now.saturating_sub(since)),
            _ => None,
        }
    }

    /// What it shows of itself. Its own word: good for people to look at, and for nothing else.
    pub fn seen(&self) -> ScoreboardCopy {
        let cells = self.board.as_ref().and_then(|board| board.copy().ok());
        scoreboard::read(&cells.unwrap_or_default(), os::clock::monotonic_us())
    }

    /// The descriptors to watch.
    pub fn sources(&self) -> impl Iterator<Item = (WorkerSource, BorrowedFd<'_>)> {
        let control = self.control.as_ref().map(AsFd::as_fd);
        let log = self.log.as_ref().map(AsFd::as_fd);
        [
            (
                WorkerSource::Process,
                self.child.pidfd().filter(|_| !self.ended),
            ),
            (WorkerSource::Start, self.child.report()),
            (WorkerSource::Control, control),
            (WorkerSource::Log, log),
        ]
        .into_iter()
        .filter_map(|(source, fd)| Some((source, fd?)))
    }

    /// Looks at what a source has. `buffer` is scratch space of [`MAX_MESSAGE`] bytes.
    pub fn attend(
        &mut self,
        source: WorkerSource,
        log: &ErrorLog,
        buffer: &mut [u8],
    ) -> Vec<Event> {
        match source {
            WorkerSource::Log => {
                self.carry_log(log);
                Vec::new()
            }
            WorkerSource::Start => match self.child.started() {
                Some(Err(failure)) => vec![Event::NotStarted(failure)],
                _ => Vec::new(),
            },
            WorkerSource::Control => self.listen(buffer),
            WorkerSource::Process => self.look(log, buffer),
        }
    }

    /// Whether the process has ended; and if so, what it said last and how it ended.
    pub fn look(&mut self, log: &ErrorLog, buffer: &mut [u8]) -> Vec<Event> {
        if self.ended {
            return Vec::new();
        }
        let exit = match self.child.try_wait() {
            Ok(None) => return Vec::new(),
            Ok(Some(exit)) => exit,
            Err(_) => Exit::Unknown,
        };
        self.ended = true;
        let mut events = Vec::new();
        if let Some(Err(failure)) = self.child.started() {
            events.push(Event::NotStarted(failure));
        }
        events.extend(self.listen(buffer));
        self.control = None;
        self.carry_log(log);
        events.push(Event::Ended(exit));
        events
    }

    fn carry_log(&mut self, log: &ErrorLog) {
        if let Some(relay) = &mut self.log {
            if relay.copy_to_log(log) == Pipe::Closed {
                self.log = None;
            }
        }
    }

    fn listen(&mut self, buffer: &mut [u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..MAX_TURN {
            let Some(control) = &self.control else { break };
            let received = match socket::recv_with_fd(control.as_fd(), buffer, Wait::Never) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => None,
                Ok(received) => Some(received),
            };
            match received.filter(|received| received.len > 0) {
                None => {
                    self.control = None;
                    self.silent_until = Some(os::clock::monotonic() + SILENCE);
                }
                Some(received) if received.truncated => {
                    events.push(self.violated("a message past the limit".into()));
                }
                Some(received) => match FromWorker::decode(&buffer[..received.len]) {
                    Ok(message) => events.extend(self.heard(message)),
                    Err(malformed) => events.push(self.violated(malformed.to_string())),
                },
            }
        }
        events
    }

    /// Until when a worker that has closed the conversation may take to end.
    pub fn silent_until(&self) -> Option<Duration> {
        self.silent_until
    }

    /// Whether it has closed the conversation and yet runs. Says so once.
    pub fn has_fallen_silent(&mut self, now: Duration) -> bool {
        let fallen = self.silent_until.is_some_and(|until| now >= until);
        if fallen {
            self.silent_until = None;
        }
        fallen
    }

    fn violated(&mut self, what: String) -> Event {
        self.control = None;
        self.kill();
        Event::Violation(what)
    }

    fn heard(&mut self, message: FromWorker) -> Option<Event> {
        match message {
            // Once only; and one that has been told to leave is ready too late.
            FromWorker::Ready(()) => self.is_starting().then_some(Event::Ready),
            FromWorker::AskReplacement(reason) => {
                if self.leaving_count >= MAX_LEAVING || self.leaving == Some(reason) {
                    return None;
                }
                self.leaving_count += 1;
                self.leaving = Some(reason);
                Some(Event::ReplacementReason(reason))
            }
            FromWorker::Loaded(script) => Some(Event::Loaded(script)),
            FromWorker::CannotLoad(report) => {
                self.is_starting().then_some(Event::CannotLoad(report))
            }
            FromWorker::Unusable(sentence) => Some(Event::Unusable(
                sentence.text().chars().take(2048).collect(),
            )),
        }
    }

    /// Hands a worker that runs on the secrets of the configuration that has come: requests that
    /// carry the new one reach it until its successors are ready.
    pub fn tell_secrets(&self, setup: WorkerSetup) {
        self.tell(&ToWorker::Setup(Box::new(setup)));
    }

    /// Best effort: a worker that does not read its messages is dealt with by its limit.
    fn tell(&self, message: &ToWorker) {
        if let (Some(control), Ok(packet)) = (&self.control, message.encode()) {
            let packet = [IoSlice::new(&packet)];
            let _ = socket::send(control.as_fd(), &packet, None, Wait::Never);
        }
    }

    /// No more requests; those that run may take so long.
    pub fn drain(&mut self, graceful: Duration, now: Duration) {
        if self.is_on_its_way_out() {
            return;
        }
        self.tell(&ToWorker::Drain(graceful.as_millis() as u64));
        self.phase = Phase::Draining {
            until: now + graceful + GRACE,
        };
    }

    /// Leave at once; what must be done before may take so long.
    pub fn stop(&mut self, limit: Duration, now: Duration) {
        let until = now + limit + GRACE;
        match self.phase {
            Phase::Killed => return,
            Phase::Stopping { until: earlier } if earlier <= until => return,
            _ => {}
        }
        self.tell(&ToWorker::Stop(limit.as_millis() as u64));
        let _ = self.child.signal(SIGTERM);
        self.phase = Phase::Stopping { until };
    }

    pub fn kill(&mut self) {
        // Fails for a process only that is gone or was never ours to signal.
        let _ = self.child.signal(SIGKILL);
        self.phase = Phase::Killed;
    }

    /// What others still hold of its log, once it has ended: processes it has left behind may
    /// write on.
    pub fn into_log(mut self, log: &ErrorLog) -> Option<WorkerOutput> {
        if let Some(relay) = &mut self.log {
            relay.finish(log);
        }
        self.log
    }
}
