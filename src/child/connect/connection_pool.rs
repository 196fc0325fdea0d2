//! The connection pool: idle connections to workers, kept for the next requests.
//!
//! Runs in: an Apache child; all its threads share the pool. A connection belongs to one worker
//! process for life. A request gets one to the process that has fewest requests of this child. Where
//! the child has no connection to a process with fewer, the request gets none, and a new connection
//! goes to whichever process the kernel wakes. A pooled connection may be dead: a worker closes what
//! it likes, and a request that meets a closed connection is sent again.
//!
//! Idle connections cost descriptors, of which a child may have few and groups may be many. So the
//! pool has one bound over all groups, and the connection that was idle longest makes room. Those of
//! a group that nobody asks for any more are closed after [`MOST_IDLE_TIME`], as soon as another
//! request comes to this child.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most idle connections to one process. There may be more than the process has threads: each client
/// that has its answer and has not asked again leaves one idle.
const MOST_IDLE: usize = 64;
/// Longest time a connection stays idle.
const MOST_IDLE_TIME: Duration = Duration::from_secs(60);
/// How often the pool is searched for those.
const SWEEP: Duration = Duration::from_secs(10);

/// The idle connections of a child, to the workers of all groups.
#[derive(Debug)]
pub struct ConnectionPool {
    /// Most of them.
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The processes of each group, by [`GroupPool::index`]; those met first come first.
    groups: Vec<Vec<Process>>,
    /// Idle connections of all of them.
    idle: usize,
    /// When the pool was last searched.
    swept: Instant,
}

/// A worker process, as far as this child has to do with it.
#[derive(Debug)]
struct Process {
    pid: u32,
    /// Requests that are under way over its pooled connections.
    busy: usize,
    /// Those that were idle longest come first.
    idle: Vec<Idle>,
}

#[derive(Debug)]
struct Idle {
    socket: OwnedFd,
    since: Instant,
}

/// The part of the pool that belongs to one process group.
#[derive(Debug)]
pub struct GroupPool {
    pool: Arc<ConnectionPool>,
    index: usize,
    /// Processes of the group.
    processes: usize,
}

/// Counts one running request of a process, until it is dropped.
#[derive(Debug)]
pub struct Claim<'k> {
    group: &'k GroupPool,
    pid: u32,
}

impl ConnectionPool {
    /// A pool of `most` idle connections.
    pub fn new(most: usize) -> Arc<ConnectionPool> {
        let state = State {
            groups: Vec::new(),
            idle: 0,
            swept: Instant::now(),
        };
        Arc::new(ConnectionPool {
            most,
            state: Mutex::new(state),
        })
    }

    /// Its part for a group of so many processes.
    pub fn group(self: &Arc<Self>, processes: u32) -> GroupPool {
        let mut state = self.state();
        state.groups.push(Vec::new());
        GroupPool {
            pool: Arc::clone(self),
            index: state.groups.len() - 1,
            processes: processes as usize,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes out the connections that have been idle for too long.
    fn expired(&mut self, now: Instant) -> Vec<Idle> {
        let mut expired = Vec::new();
        if now.saturating_duration_since(self.swept) < SWEEP {
            return expired;
        }
        self.swept = now;
        for process in self.groups.iter_mut().flatten() {
            let old = process
                .idle
                .partition_point(|idle| now.saturating_duration_since(idle.since) > MOST_IDLE_TIME);
            expired.extend(process.idle.drain(..old));
        }
        self.idle -= expired.len();
        expired
    }

    /// Takes out the connection that has been idle longest.
    fn longest_idle(&mut self) -> Option<Idle> {
        let process = self
            .groups
            .iter_mut()
            .flatten()
            .filter(|process| !process.idle.is_empty())
            .min_by_key(|process| process.idle[0].since)?;
        self.idle -= 1;
        Some(process.idle.remove(0))
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut state = self.group.pool.state();
        let known = &mut state.groups[self.group.index];
        if let Some(process) = known.iter_mut().find(|process| process.pid == self.pid) {
            process.busy = process.busy.saturating_sub(1);
        }
    }
}

impl Claim<'_> {
    /// The process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The process is gone, or does not answer: nothing more is sent to it.
    pub fn forget(&self) {
        let mut state = self.group.pool.state();
        let known = &mut state.groups[self.group.index];
        if let Some(at) = known.iter().position(|process| process.pid == self.pid) {
            let forgotten = known.remove(at);
            state.idle -= forgotten.idle.len();
            // Closing takes a moment, in which others need the pool.
            drop(state);
            drop(forgotten);
        }
    }
}

impl GroupPool {
    /// A connection for a request; `None` where a new one is to be made.
    pub fn take(&self) -> Option<(OwnedFd, Claim<'_>)> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Option<(OwnedFd, Claim<'_>)> {
        let mut state = self.pool.state();
        let expired = state.expired(now);
        let taken = self.most_recent(&mut state);
        drop(state);
        drop(expired);
        let (socket, pid) = taken?;
        Some((socket, Claim { group: self, pid }))
    }

    /// Takes out a connection to the process that has fewest requests.
    fn most_recent(&self, state: &mut State) -> Option<(OwnedFd, u32)> {
        let known = &mut state.groups[self.index];
        known.retain(|process| process.busy > 0 || !process.idle.is_empty());
        let least = match known.len() < self.processes {
            true => 0,
            false => known.iter().map(|process| process.busy).min()?,
        };
        // Prefer the newest process; an older one is likelier to have exited.
        let process = known
            .iter_mut()
            .rev()
            .filter(|process| !process.idle.is_empty())
            .min_by_key(|process| process.busy)?;
        if self.processes > 1 && process.busy > least {
            return None;
        }
        let idle = process.idle.pop()?;
        process.busy += 1;
        state.idle -= 1;
        Some((idle.socket, process.pid))
    }

    /// Keeps a connection to the process `pid`, over which nothing is under way.
    pub fn keep(&self, pid: u32, socket: OwnedFd) {
        self.keep_at(Instant::now(), pid, socket);
    }

    fn keep_at(&self, now: Instant, pid: u32, socket: OwnedFd) {
        let mut state = self.pool.state();
        let mut closed = state.expired(now);
        let idle = Idle { socket, since: now };
        if let Some(idle) = self.put(&mut state, pid, idle) {
            closed.push(idle);
        }
        if state.idle > self.pool.most {
            closed.extend(state.longest_idle());
        }
        drop(state);
        drop(closed);
    }

    /// Puts `idle` into the pool; gives it back where the process has as many as it may have.
    fn put(&self, state: &mut State, pid: u32, idle: Idle) -> Option<Idle> {
        let known = &mut state.groups[self.index];
        if let Some(process) = known.iter_mut().find(|process| process.pid == pid) {
            if process.idle.len() >= MOST_IDLE {
                return Some(idle);
            }
            process.idle.push(idle);
            state.idle += 1;
            return None;
        }
        // Those of generations before, of which the first has long exited.
        if known.len() > 2 * self.processes {
            state.idle -= known.remove(0).idle.len();
        }
        known.push(Process {
            pid,
            busy: 0,
            idle: vec![idle],
        });
        state.idle += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn fd() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn group(processes: u32) -> GroupPool {
        ConnectionPool::new(1000).group(processes)
    }

    /// Idle connections, as counted and as they are.
    fn idle(pool: &ConnectionPool) -> usize {
        let state = pool.state();
        let there = state.groups.iter().flatten().map(|one| one.idle.len());
        assert_eq!(there.sum::<usize>(), state.idle);
        state.idle
    }

    #[test]
    fn what_was_kept_last_is_taken_first() {
        let group = group(1);
        assert!(group.take().is_none());
        let (one, two) = (fd(), fd());
        let numbers = [two.as_raw_fd(), one.as_raw_fd()];
        group.keep(7, one);
        group.keep(7, two);
        let taken = [(); 2].map(|()| group.take().unwrap());
        assert_eq!(taken.each_ref().map(|(fd, _)| fd.as_raw_fd()), numbers);
        assert!(group.take().is_none());
        assert_eq!(idle(&group.pool), 0);
    }

    #[test]
    fn of_several_processes_the_one_with_fewest_requests_is_taken() {
        let group = group(2);
        for pid in [7, 8, 7, 8] {
            group.keep(pid, fd());
        }
        let taken: Vec<_> = std::iter::from_fn(|| group.take()).collect();
        let pids: Vec<_> = taken.iter().map(|(_, claim)| claim.pid).collect();
        assert_eq!(pids.len(), 4);
        assert!(pids[0] != pids[1] && pids[2] != pids[3], "{pids:?}");
    }

    #[test]
    fn a_process_that_is_not_connected_to_is_given_its_chance() {
        let group = group(2);
        group.keep(7, fd());
        group.keep(7, fd());
        let _first = group.take().unwrap();
        assert!(group.take().is_none());
        group.keep(8, fd());
        let (_, claim) = group.take().unwrap();
        assert_eq!(claim.pid, 8);
        // Both have one now.
        assert_eq!(group.take().unwrap().1.pid, 7);
    }

    #[test]
    fn a_process_that_is_forgotten_is_sent_nothing_more() {
        let group = group(1);
        for _ in 0..3 {
            group.keep(7, fd());
        }
        let (_fd, claim) = group.take().unwrap();
        claim.forget();
        assert_eq!(idle(&group.pool), 0);
        // Another thread may have forgotten it, too.
        claim.forget();
        drop(claim);
        assert!(group.take().is_none());
    }

    #[test]
    fn what_a_group_keeps_has_a_bound() {
        let group = group(2);
        for pid in 0..100 {
            for _ in 0..3 {
                group.keep(pid, fd());
            }
        }
        for _ in 0..2 * MOST_IDLE {
            group.keep(99, fd());
        }
        assert_eq!(idle(&group.pool), 4 * 3 + MOST_IDLE);
        let state = group.pool.state();
        assert_eq!(state.groups[0].len(), 5);
        assert_eq!(state.groups[0].last().unwrap().idle.len(), MOST_IDLE);
    }

    #[test]
    fn all_groups_share_one_bound_and_the_longest_idle_goes_first() {
        let pool = ConnectionPool::new(10);
        let groups: Vec<_> = (0..300).map(|_| pool.group(2)).collect();
        let start = Instant::now();
        let at = |number: u64| start + Duration::from_micros(number);
        for (number, group) in groups.iter().enumerate() {
            group.keep_at(at(number as u64), 7, fd());
            assert!(idle(&pool) <= 10);
        }
        // The last ten are there. One that is used stays, although it came first.
        let (socket, claim) = groups[290].take_at(at(300)).unwrap();
        drop(claim);
        groups[290].keep_at(at(301), 7, socket);
        groups[0].keep_at(at(302), 7, fd());
        let there: Vec<_> = (0..300)
            .filter(|&number| groups[number].take_at(at(303)).is_some())
            .collect();
        assert_eq!(there, [0, 290, 292, 293, 294, 295, 296, 297, 298, 299]);
    }

    #[test]
    fn a_connection_that_nobody_used_for_long_is_closed_by_the_next_request_of_any_group() {
        let pool = ConnectionPool::new(10);
        let (quiet, busy) = (pool.group(1), pool.group(1));
        let start = Instant::now();
        quiet.keep_at(start, 7, fd());
        quiet.keep_at(start + Duration::from_secs(30), 7, fd());
        assert!(busy.take_at(start + MOST_IDLE_TIME).is_none());
        assert_eq!(idle(&pool), 2);
        assert!(busy.take_at(start + MOST_IDLE_TIME + SWEEP).is_none());
        assert_eq!(idle(&pool), 1);
        // Nor does the group itself use one that is too old.
        assert!(quiet.take_at(start + 3 * MOST_IDLE_TIME).is_none());
        assert_eq!(idle(&pool), 0);
    }
}
