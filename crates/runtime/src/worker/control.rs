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
use wire::log_id::{CPU_TIME_USED, NOT_COME_UP};
use wire::response::Level;

use super::accept::Lookout;
use super::signal_subscribers::Notices;
use super::time_limits::Watch;
use super::{limit, Worker};
use crate::process::process_log;

/// How long the supervisor may take to say what this worker is to be.
const SETUP_LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked whether all threads have left.
const TICK: Duration = Duration::from_millis(5);
/// Time for hooks when supervisor or server are gone: all is to be gone within a second.
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

/// How the worker is to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    /// As events tell it.
    pub reason: &'static str,
    /// For shutdown hooks, and for requests that still run where they are waited for.
    pub limit: Duration,
    /// Requests that still run may finish within the limit. They have had their time after a drain.
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

    /// Tells the supervisor; where it can't be told it is gone, and the main thread finds out.
    pub fn send(&self, message: &FromWorker) {
        if let Ok(packet) = message.encode() {
            let packet = [IoSlice::new(&packet)];
            let _ = socket::send(self.socket.as_fd(), &packet, None, Wait::Never);
        }
    }

    /// Makes the main thread look around. A full pipe does as well.
    pub fn wake(&self) {
        let _ = (&self.ring).write(&[0]);
    }

    /// Readable when the supervisor has something to say.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What the supervisor says; `None` when it is gone. An error of kind `WouldBlock` where it says
    /// nothing.
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
                process_log::say(&format!(
                    "{NOT_COME_UP}: the instructions can't be read: {error}"
                ));
                None
            }
        }
    }
}

/// Waits until the worker is to leave, and for its threads as far as that is asked for.
pub fn watch(worker: &Arc<Worker>, signals: &mut signal::Arrivals, mut limits: Watch<'_>) -> Leave {
    let timeouts = &worker.setup.group.timeouts;
    let shutdown = limit(timeouts.shutdown, SHUTDOWN_LIMIT);
    // When to go although requests still run, once draining.
    let mut deadline: Option<Duration> = None;
    let mut notices = Notices::default();
    let mut lookout = Lookout::default();
    loop {
        if limits.look(clock::monotonic_us()) {
            return Leave {
                reason: worker.reason().unwrap_or("deadlock_timeout"),
                limit: Duration::ZERO,
                wait: false,
            };
        }
        if worker.draining.load(Ordering::SeqCst) {
            let graceful = limit(timeouts.graceful, GRACEFUL_LIMIT);
            let end = *deadline.get_or_insert_with(|| clock::monotonic() + graceful);
            worker.reception.close();
            // Threads that hang are not waited for, nor those that have taken nothing up.
            let working = worker.running.load(Ordering::SeqCst);
            if working <= limits.given_up() || clock::monotonic() >= end {
                return Leave {
                    reason: worker.reason().unwrap_or("graceful_signal"),
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
        // A signal interrupts the wait and is in the pipe by then; other errors can't be had here,
        // and the pause keeps them from becoming a busy loop.
        let now = clock::monotonic_us();
        worker.reception.look(&mut lookout, now);
        if worker.reception.is_attending(&mut lookout) {
            worker.send_held();
        }
        let tick = deadline.map(|_| TICK);
        let look = limits
            .next(now)
            .map(|at| Duration::from_micros(at.saturating_sub(now)));
        let reception = worker.reception.next_look(&lookout, now);
        let tick = [tick, look, Some(reception)].into_iter().flatten().min();
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
                    signal::SIGUSR1 => worker.ask(ReplacementReason::Signal),
                    // Once a second from here on, until the limit at which the kernel kills.
                    signal::SIGXCPU => {
                        if !worker.has_asked() {
                            process_log::record_at(Level::Info, format!(
                                "{CPU_TIME_USED}: the process has used cpu-time-limit={} and is replaced",
                                worker.setup.group.limits.cpu_time / 1000
                            ).as_bytes());
                        }
                        worker.ask_because(ReplacementReason::TimeLimit, "cpu_time_limit");
                    }
                    signal::SIGHUP | signal::SIGUSR2 => notices.tell(worker, number),
                    _ => {
                        return Leave {
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
                    deadline = Some(clock::monotonic() + Duration::from_millis(milliseconds));
                }
                Ok(Some(ToWorker::Stop(milliseconds))) => {
                    return Leave {
                        reason: "shutdown_signal",
                        limit: Duration::from_millis(milliseconds),
                        wait: true,
                    }
                }
                Ok(Some(ToWorker::Setup(newer))) => worker.secrets.replace(&newer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The end, or a supervisor that makes no sense: there is nobody to work for.
                Ok(None) | Err(_) => {
                    return Leave {
                        reason: "shutdown_signal",
                        limit: ORPHAN_LIMIT,
                        wait: true,
                    }
                }
            }
        }
    }
}
