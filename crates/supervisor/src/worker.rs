//! One worker process as its supervisor sees it.
//!
//! Runs in: the supervisor.

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

/// Extra time after a worker's limit to exit, before it is killed.
const GRACE: Duration = Duration::from_millis(250);
/// How long a process may still run after its control socket was closed: the kernel closes
/// the descriptors of a dying process first.
const SILENCE: Duration = Duration::from_millis(250);
/// Maximum number of messages read from a worker per turn.
const MAX_TURN: usize = 16;
/// Maximum number of requests for replacement from a worker: a first, and a more urgent one.
const MAX_LEAVING: u32 = 2;

/// The state of a worker. Times are of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Executed, but not ready yet.
    Starting { since: Duration },
    /// Accepts requests.
    Ready { since: Duration },
    /// Drains: accepts no more requests and finishes the current ones.
    Draining { until: Duration },
    /// Was told to exit at once.
    Stopping { until: Duration },
    /// Was killed; its end has not been seen yet.
    Killed,
}

/// An event from a worker.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The program could not be executed as configured.
    NotStarted(Failure),
    Ready,
    ReplacementReason(ReplacementReason),
    Unusable(String),
    /// It received a request for this script.
    Loaded((Bytes, Bytes)),
    /// The same, and a client could name the application group.
    LoadedForClientName((Bytes, Bytes)),
    /// It can't load a script, and leaves the requests to its peers.
    CannotLoad(Bytes),
    /// It can't load a script, and has logged this report.
    FailedToLoad(Bytes),
    /// It sent an invalid message and was killed.
    Violation(String),
    Ended(Exit),
}

/// A script that a worker loads before it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlyLoad {
    pub pid: u32,
    pub generation: u32,
    pub script: Bytes,
}

/// Identifies a descriptor of a worker.
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
    /// Why it requested its replacement.
    pub leaving: Option<ReplacementReason>,
    /// It has loaded a script, or will have done so when it is ready.
    pub has_loaded: bool,
    /// The script that it loads before it is ready.
    loading: Option<Bytes>,
    /// It has reached its age or memory limit.
    pub worn: bool,
    /// It refuses application groups with further names of clients.
    pub has_client_names_used_up: bool,
    leaving_count: u32,
    child: Child,
    /// `None` once the worker has closed its end.
    control: Option<OwnedFd>,
    /// Until when it must end, once it has closed its end.
    silent_until: Option<Duration>,
    log: Option<WorkerOutput>,
    /// The shared memory in which it publishes its state. `None` if the system has no such memory.
    board: Option<Shared>,
    ended: bool,
}

impl Worker {
    /// Starts the process that `command` describes, adds its descriptors and sends its setup. It
    /// has this many request threads.
    ///
    /// # Errors
    /// If no process could be created.
    pub fn start(
        id: u64,
        generation: u32,
        command: impl for<'fd> FnOnce([BorrowedFd<'fd>; 7]) -> Command<'fd>,
        listener: BorrowedFd<'_>,
        threads: u32,
        setup: &[u8],
        now: Duration,
    ) -> io::Result<Self> {
        let (own, theirs) = socket::seqpacket_pair()?;
        let (log_reader, log_writer) = os::descriptor::pipe()?;
        let null = os::descriptor::null()?;
        let log = log_writer.as_fd();
        // For the runtime, which must not wait for a log. What else writes may have to: descriptors 1
        // and 2 are as programs expect them.
        let log_again = os::descriptor::reopen_for_appending(log);
        let nonblocking = log_again.as_ref().map_or(log, AsFd::as_fd);
        // The setup is one packet: the buffer must hold the largest.
        socket::set_buffers(own.as_fd(), Some(2 * MAX_MESSAGE as u32), None)?;
        socket::send(own.as_fd(), &[IoSlice::new(setup)], None, Wait::Never)?;
        // A worker without shared memory works too, but publishes nothing.
        let board = Shared::create("wsgi-board", scoreboard::cells(threads)).ok();
        let shown = board.as_ref().map_or(null.as_fd(), AsFd::as_fd);
        let command = command([
            null.as_fd(),
            log,
            log,
            listener,
            theirs.as_fd(),
            shown,
            nonblocking,
        ]);
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
            loading: None,
            worn: false,
            has_client_names_used_up: false,
            leaving_count: 0,
            child,
            control: Some(own),
            silent_until: None,
            log: Some(WorkerOutput::new(log_reader, pid)?),
            board,
            ended: false,
        })
    }

    /// Prefixes the worker's output lines with the group's name.
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

    /// Whether it accepts no more requests but has not ended yet.
    pub fn is_on_its_way_out(&self) -> bool {
        !self.is_starting() && !self.is_ready()
    }

    /// The load it is at before it is ready.
    pub fn early_load(&self) -> Option<EarlyLoad> {
        let script = self.loading.clone().filter(|_| self.is_starting())?;
        Some(EarlyLoad {
            pid: self.pid(),
            generation: self.generation,
            script,
        })
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

    /// The state that it publishes. It is the worker's own claim: display it, but decide nothing by
    /// it that could harm others.
    pub fn seen(&self) -> ScoreboardCopy {
        let cells = self.board.as_ref().and_then(|board| board.copy().ok());
        scoreboard::read(&cells.unwrap_or_default(), os::clock::monotonic_us())
    }

    /// The descriptors to poll.
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

    /// Reads from a source. `buffer` is scratch space of [`MAX_MESSAGE`] bytes.
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

    /// Checks whether the process has ended. If so, returns its last event and how it ended.
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

    /// Until when a worker that has closed its control socket must end.
    pub fn silent_until(&self) -> Option<Duration> {
        self.silent_until
    }

    /// Whether it has closed its control socket but still runs. Returns true only once.
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
            // Only once; a worker that was told to exit is ready too late.
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
            FromWorker::LoadedForClientName(script) => Some(Event::LoadedForClientName(script)),
            FromWorker::ClientNamesUsedUp(()) => {
                self.has_client_names_used_up = true;
                None
            }
            FromWorker::CannotLoad(report) => {
                self.is_starting().then_some(Event::CannotLoad(report))
            }
            FromWorker::FailedToLoad(report) => Some(Event::FailedToLoad(report)),
            FromWorker::Loading(script) => {
                self.loading = self.is_starting().then_some(script);
                None
            }
            FromWorker::Unusable(sentence) => Some(Event::Unusable(
                sentence.text().chars().take(2048).collect(),
            )),
        }
    }

    /// Sends a running worker the secrets of the new configuration: requests with the new secret
    /// reach it until its successors are ready.
    pub fn tell_secrets(&self, setup: WorkerSetup) {
        self.tell(&ToWorker::Setup(Box::new(setup)));
    }

    /// Best effort: a worker that does not read its messages runs into its time limit.
    fn tell(&self, message: &ToWorker) {
        if let (Some(control), Ok(packet)) = (&self.control, message.encode()) {
            let packet = [IoSlice::new(&packet)];
            let _ = socket::send(control.as_fd(), &packet, None, Wait::Never);
        }
    }

    /// Drains the worker; running requests have this time limit. Whether it was not leaving already.
    pub fn drain(&mut self, graceful: Duration, now: Duration) -> bool {
        if self.is_on_its_way_out() {
            return false;
        }
        self.tell(&ToWorker::Drain(graceful.as_millis() as u64));
        self.phase = Phase::Draining {
            until: now + graceful + GRACE,
        };
        true
    }

    /// Tells the worker to exit at once; its cleanup has this time limit. Whether it was not told
    /// before.
    pub fn stop(&mut self, limit: Duration, now: Duration) -> bool {
        let until = now + limit + GRACE;
        match self.phase {
            Phase::Killed => return false,
            Phase::Stopping { until: earlier } if earlier <= until => return false,
            _ => {}
        }
        self.tell(&ToWorker::Stop(limit.as_millis() as u64));
        let _ = self.child.signal(SIGTERM);
        self.phase = Phase::Stopping { until };
        true
    }

    pub fn kill(&mut self) {
        // Fails only if the process is gone or may not be signalled.
        let _ = self.child.signal(SIGKILL);
        self.phase = Phase::Killed;
    }

    /// The log pipe of an ended worker, if other processes still hold it: processes that the worker
    /// left behind may still write.
    pub fn into_log(mut self, log: &ErrorLog) -> Option<WorkerOutput> {
        if let Some(relay) = &mut self.log {
            relay.finish(log);
        }
        self.log
    }
}
