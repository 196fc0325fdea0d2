//! The wait of a conversation: for which events, and for how long.
//!
//! Runs in: an Apache child, as a part of [`Conversation`]. The loop waits only after it has done
//! everything that it can do without waiting; afterwards it checks all of it again.

use std::time::{Duration, Instant};

use wire::request::WITHDRAWN_AFTER;
use wire::response::BodyFailure;

use super::super::client::Client;
use super::super::failure::RelayFailure;
use super::super::worker::{Interest, WorkerConnection};
use super::{Conversation, HalfClose, Phase, Stop};

/// Longest wait while the client owes something: `RequestReadTimeout` is enforced by the read that
/// follows, so there has to be one now and then.
const READ_INTERVAL: Duration = Duration::from_secs(1);
/// Longest nap where the client has no socket to wait on.
const NAP: Duration = Duration::from_millis(16);
/// How long a worker may compute in silence before it is looked whether the client is still there:
/// a quick response costs no look.
const UNATTENDED: Duration = Duration::from_millis(100);
/// How often a client without a socket is looked after.
const LOOK: Duration = Duration::from_millis(500);

impl<P: WorkerConnection, C: Client> Conversation<'_, '_, P, C> {
    /// Waits until something can be done.
    pub(super) fn wait(&mut self) -> Result<(), Stop> {
        let owed = self.request.upload.awaits_client();
        let behind = self.awaits_room();
        let full = self.is_full();
        let mut left = match &self.phase {
            Phase::Discarding(_, until) => until.saturating_duration_since(Instant::now()),
            _ if owed => self.request.upload.patience(self.request.limits.client),
            _ if full => self.clients_time(),
            _ => self.workers_time(),
        };
        if behind {
            let patience = self.clients_time();
            if patience == Duration::ZERO {
                return Err(self.stalled());
            }
            left = left.min(patience);
        }
        if left == Duration::ZERO {
            if owed && !matches!(self.phase, Phase::Discarding(..)) {
                let cause = self.request.upload.fail(BodyFailure::Timeout);
                self.body_failed(cause);
                return Ok(());
            }
            return Err(self.silent());
        }
        if full {
            if let Some(time) = self.buffered.time_to_spool() {
                left = left.min(time);
            }
        }
        let silent_for = self.waited_for.elapsed();
        if self.may_withdraw() {
            match self.time_to_withdraw() {
                Duration::ZERO if self.worker.unread() == Some(true) => self.withdraw()?,
                Duration::ZERO => {}
                rest => left = left.min(rest),
            }
        }
        if self.half_close == HalfClose::Seen {
            left = left.min(LOOK);
        }
        let attends = silent_for >= UNATTENDED;
        if !attends {
            left = left.min(UNATTENDED - silent_for);
        } else if self.client.socket().is_none() {
            if self.client.is_gone() {
                return Err(Stop::Gone);
            }
            left = left.min(LOOK);
        }
        // Over a socket the room in it says when the next is due, else the worker's pause.
        let holds_back = (self.unflushed > 0 || !self.buffered.is_empty()) && !behind;
        if holds_back {
            left = left.min(self.flush_delay());
        }
        if owed {
            let glance = if self.client.socket().is_some() {
                READ_INTERVAL
            } else {
                self.nap
            };
            left = left.min(glance);
            self.nap = (self.nap * 2).min(NAP);
        }
        let ready = if left == Duration::ZERO {
            Interest::default()
        } else {
            let interest = Interest {
                from_worker: !full,
                to_worker: self.request.upload.awaits_worker(),
                // A client that does not read may be waiting for its body to be read first.
                from_client: owed || (behind && self.request.upload.has_room()),
                to_client: behind,
                client_closed: attends && self.half_close == HalfClose::No,
                client_lost: attends || behind,
            };
            let before = Instant::now();
            let ready = self.wait_for(interest, left)?;
            if full {
                self.buffered.note_held_up(before.elapsed());
            }
            ready
        };
        if ready.client_lost {
            return Err(Stop::Gone);
        }
        if ready.client_closed {
            self.half_close = HalfClose::Seen;
        }
        if self.half_close == HalfClose::Seen && self.may_close_our_side() {
            self.worker.end_sending();
            self.half_close = HalfClose::Told;
        }
        if ready.from_worker {
            self.dry = false;
        }
        if ready.to_client {
            self.drain(true)?;
        } else if ready.from_client && !owed {
            self.read_ahead();
        }
        if ready.is_empty() && holds_back && silent_for + left >= self.flush_delay() {
            self.pause()?;
        }
        Ok(())
    }

    /// Whether the worker may not even have looked at the request, although it was bound to a
    /// process that should have a thread to spare: one that is stopped, or hangs as a whole.
    fn may_withdraw(&self) -> bool {
        self.worker.is_pooled() && !self.frames.have_begun() && self.half_close != HalfClose::Told
    }

    /// Takes the request back, to send it to another worker. What is in the socket can't be taken
    /// back: a worker that finds it there later, and our side closed, does not run it. So our side
    /// is closed first; if the request has left the socket by then it is the worker's.
    fn withdraw(&mut self) -> Result<(), Stop> {
        self.worker.end_sending();
        self.half_close = HalfClose::Told;
        match self.worker.unread() {
            Some(true) => Err(self.shut()),
            _ => Ok(()),
        }
    }

    /// How long a process still has to take the request from a connection that was kept.
    pub(super) fn time_to_withdraw(&self) -> Duration {
        WITHDRAWN_AFTER.saturating_sub(self.waited_for.elapsed())
    }

    /// Whether the worker can be told that the client has closed its side. A worker that has just
    /// taken the request from a kept connection would take that for a withdrawal, so it is left a
    /// moment.
    fn may_close_our_side(&mut self) -> bool {
        if self.worker.is_pooled() && !self.begun {
            if self.worker.unread() != Some(false) {
                return false;
            }
            let since = *self.read_since.get_or_insert_with(Instant::now);
            if since.elapsed() < LOOK / 2 {
                return false;
            }
        }
        self.request.upload.is_settled()
    }

    pub(super) fn wait_for(
        &mut self,
        interest: Interest,
        limit: Duration,
    ) -> Result<Interest, Stop> {
        let socket = self.client.socket();
        match self.worker.wait(interest, socket, limit) {
            Ok(ready) => Ok(ready),
            Err(error) => Err(self.failure(RelayFailure::connection, &error)),
        }
    }

    pub(super) fn workers_time(&self) -> Duration {
        self.request
            .limits
            .silence
            .saturating_sub(self.waited_for.elapsed())
    }
}
