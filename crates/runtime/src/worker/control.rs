//! The conversation with the supervisor, and the signals.
//!
//! Runs in: the main thread, which waits here for most of its life; [`Control::send`] is called by
//! any thread, without waiting.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use os::poll::{poll, poll_uninterrupted, Wanted};
use os::socket::{self, Wait};
use os::{clock, descriptor, signal};
use wire::control::{FromWorker, ReplacementReason, ToWorker, WorkerSetup, MAX_MESSAGE};
use wire::log_id::{CPU_TIME_USED, WORKER_NOT_READY};
use wire::response::Level;

use super::accept::StallWatch;
use super::signal_subscribers::SignalSubscribers;
use super::time_limits::TimeLimits;
use super::Worker;
use crate::process::process_log;

/// How long the supervisor may take to send the worker's setup.
const SETUP_LIMIT: Duration = Duration::from_secs(30);
/// How often to check whether all threads have finished.
const TICK: Duration = Duration::from_millis(5);
/// How often to try to log that lines were left out.
const LOST_TICK: Duration = Duration::from_secs(1);
/// Time limit for shutdown hooks if the supervisor or Apache has died: all workers exit within a
/// second then.
const ORPHAN_LIMIT: Duration = Duration::from_millis(800);
/// `shutdown-timeout` and `graceful-timeout` where they are 0.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
const GRACEFUL_LIMIT: Duration = Duration::from_secs(15);

/// The control socket, and a pipe by which threads wake the main one.
pub struct Control {
    socket: OwnedFd,
    bell: File,
    ring: File,
}

/// How the worker is to exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownPlan {
    /// The `shutdown_reason` of events.
    pub reason: &'static str,
    /// For shutdown hooks, and for requests that still run if they are waited for.
    pub limit: Duration,
    /// Requests that still run may finish within the limit. After a drain they have had their time.
    pub wait: bool,
}

impl Control {
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let (bell, ring) = descriptor::pipe()?;
        descriptor::set_nonblocking(bell.as_fd())?;
        descriptor::set_nonblocking(ring.as_fd())?;
        Ok(Self {
            socket,
            bell: bell.into(),
            ring: ring.into(),
        })
    }

    /// Sends a message to the supervisor, without waiting. If the supervisor has died, the main thread
    /// notices that by itself.
    pub fn send(&self, message: &FromWorker) {
        if let Ok(packet) = message.encode() {
            let packet = [IoSlice::new(&packet)];
            let _ = socket::send(self.socket.as_fd(), &packet, None, Wait::Never);
        }
    }

    /// Wakes the main thread. A full pipe wakes it as well.
    pub fn wake(&self) {
        let _ = (&self.ring).write(&[0]);
    }

    /// Readable when there is a message from the supervisor.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next message of the supervisor; `None` if it is gone. An error of kind `WouldBlock` if
    /// there is none.
    pub fn receive(&self) -> io::Result<Option<ToWorker>> {
        let mut packet = vec![0; MAX_MESSAGE];
        match socket::recv(self.socket.as_fd(), &mut packet, Wait::Never)? {
            0 => Ok(None),
            n => ToWorker::decode(&packet[..n])
                .map(Some)
                .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why)),
        }
    }

    /// The first message.
    pub fn receive_setup(&self) -> Option<Box<WorkerSetup>> {
        let mut wanted = [Wanted::readable(self.socket.as_fd())];
        poll_uninterrupted(&mut wanted, Some(SETUP_LIMIT)).ok()?;
        match self.receive() {
            Ok(Some(ToWorker::Setup(setup))) => Some(setup),
            Ok(Some(_) | None) => None,
            Err(error) => {
                process_log::error(&format!(
                    "{WORKER_NOT_READY}: the instructions can't be read: {error}"
                ));
                None
            }
        }
    }
}

/// Waits until the worker is to exit, and for its running requests as far as the supervisor grants
/// them time.
pub fn watch(
    worker: &Arc<Worker>,
    signals: &mut signal::Arrivals,
    mut limits: TimeLimits<'_>,
) -> ShutdownPlan {
    let timeouts = &worker.setup.group.timeouts;
    let shutdown = timeouts.shutdown.unwrap_or(SHUTDOWN_LIMIT);
    // When to exit although requests still run, once draining.
    let mut deadline: Option<Duration> = None;
    let mut subscribers = SignalSubscribers::default();
    let mut stalls = StallWatch::default();
    let came_up = clock::monotonic();
    // What the supervisor has it go for, as far as it can tell.
    let mut asked = "graceful_signal";
    loop {
        if limits.look(clock::monotonic_us()) {
            return ShutdownPlan {
                reason: worker.reason().unwrap_or("deadlock_timeout"),
                limit: Duration::ZERO,
                wait: false,
            };
        }
        if worker.draining.load(Ordering::SeqCst) {
            let graceful = timeouts.graceful.unwrap_or(GRACEFUL_LIMIT);
            let end = *deadline.get_or_insert_with(|| clock::monotonic() + graceful);
            worker.request_source.close();
            // Threads that hang are not waited for, nor threads without a request.
            let working = worker.unfinished.load(Ordering::SeqCst);
            if working <= limits.given_up() || clock::monotonic() >= end {
                return ShutdownPlan {
                    reason: worker.reason().unwrap_or(asked),
                    limit: shutdown,
                    wait: false,
                };
            }
        }
        let mut wanted = [
            Wanted::readable(worker.control.socket.as_fd()),
            Wanted::readable(signals.as_fd()),
            Wanted::readable(worker.control.bell.as_fd()),
        ];
        // A signal that interrupts the wait is in the pipe by then. Other errors are not expected; the
        // pause keeps them from becoming a busy loop.
        let now = clock::monotonic_us();
        worker.request_source.look(&mut stalls, now);
        if worker.request_source.is_attending(&mut stalls) {
            worker.send_held();
        }
        process_log::tell_lost();
        let tick = deadline.map(|_| TICK);
        let lost = process_log::has_lost().then_some(LOST_TICK);
        let look = limits
            .next(now)
            .map(|at| Duration::from_micros(at.saturating_sub(now)));
        let request_source = worker.request_source.next_look(&stalls, now);
        let tick = [tick, look, lost, Some(request_source)]
            .into_iter()
            .flatten()
            .min();
        if poll(&mut wanted, tick).is_err() {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let [control, signalled, rung] = wanted.map(|w| w.can_read());
        if rung {
            let _ = (&worker.control.bell).read(&mut [0; 64]);
        }
        if signalled {
            for number in signals.drain() {
                match number {
                    signal::SIGUSR1 => {
                        worker.request_replacement(ReplacementReason::Signal);
                    }
                    // Once a second from here on, until the limit at which the kernel kills.
                    signal::SIGXCPU => {
                        if !worker.has_requested_replacement() {
                            process_log::record_at(Level::Info, format!(
                                "{CPU_TIME_USED}: the process has used cpu-time-limit={} and is replaced",
                                worker.setup.group.resources.cpu_time.unwrap_or_default().as_secs()
                            ).as_bytes());
                        }
                        worker.request_replacement_because(
                            ReplacementReason::TimeLimit,
                            "cpu_time_limit",
                        );
                    }
                    signal::SIGHUP | signal::SIGUSR2 => subscribers.tell(worker, number),
                    _ => {
                        return ShutdownPlan {
                            reason: "shutdown_signal",
                            limit: shutdown,
                            wait: true,
                        }
                    }
                }
            }
        }
        if control {
            match worker.control.receive() {
                Ok(Some(ToWorker::Drain(milliseconds))) => {
                    worker.draining.store(true, Ordering::SeqCst);
                    let now = clock::monotonic();
                    deadline = Some(now + Duration::from_millis(milliseconds));
                    // The supervisor replaces a worker as soon as the interval has passed.
                    let interval = timeouts.restart_interval;
                    if interval.is_some_and(|interval| now - came_up >= interval) {
                        asked = "restart_interval";
                    }
                }
                Ok(Some(ToWorker::Stop(milliseconds))) => {
                    return ShutdownPlan {
                        reason: "shutdown_signal",
                        limit: Duration::from_millis(milliseconds),
                        wait: true,
                    }
                }
                Ok(Some(ToWorker::Setup(newer))) => worker.group_keys.replace(&newer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The end, or a message that makes no sense: there is no supervisor to work for.
                Ok(None) | Err(_) => {
                    return ShutdownPlan {
                        reason: "shutdown_signal",
                        limit: ORPHAN_LIMIT,
                        wait: true,
                    }
                }
            }
        }
    }
}
