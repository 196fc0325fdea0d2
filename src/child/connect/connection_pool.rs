//! Connections to workers that are kept between requests.
//!
//! Runs in: an Apache child; all its threads share what is kept for a process group. A connection
//! belongs to one worker process for life. The one that is taken is of the process that has fewest
//! requests of this child; where a process that has fewer is not connected to, none is taken, and a
//! new connection goes to whichever process the kernel wakes. Nothing kept here need be alive: a
//! worker closes what it likes, and a request that meets a closed connection is sent again.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most idle connections to one process. As many are idle at once as clients have their answer and
/// not asked again, which may be more than the process has threads.
const MOST_IDLE: usize = 64;

/// A worker process, as far as this child has to do with it.
#[derive(Debug)]
struct Process {
    pid: u32,
    /// Requests that are under way over its kept connections.
    busy: usize,
    idle: Vec<OwnedFd>,
}

/// What is kept for one process group.
#[derive(Debug)]
pub struct Kept {
    processes: usize,
    known: Mutex<Vec<Process>>,
}

/// A request is under way to a process, as long as this lives.
#[derive(Debug)]
pub struct Claim<'k> {
    kept: &'k Kept,
    pid: u32,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut known = self.kept.known();
        if let Some(process) = known.iter_mut().find(|process| process.pid == self.pid) {
            process.busy = process.busy.saturating_sub(1);
        }
    }
}

impl Claim<'_> {
    /// The process is gone, or does not answer: nothing more is sent to it.
    pub fn forget(&self) {
        self.kept.known().retain(|process| process.pid != self.pid);
    }
}

impl Kept {
    /// For a group of so many processes.
    pub fn new(processes: u32) -> Kept {
        Kept {
            processes: processes as usize,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Vec<Process>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection for a request; `None` where a new one is to be made.
    pub fn take(&self) -> Option<(OwnedFd, Claim<'_>)> {
        let mut known = self.known();
        known.retain(|process| process.busy > 0 || !process.idle.is_empty());
        let least = match known.len() < self.processes {
            true => 0,
            false => known.iter().map(|process| process.busy).min()?,
        };
        // The latest that came: of those that have left it would be the last.
        let process = known
            .iter_mut()
            .rev()
            .filter(|process| !process.idle.is_empty())
            .min_by_key(|process| process.busy)?;
        if self.processes > 1 && process.busy > least {
            return None;
        }
        let fd = process.idle.pop()?;
        process.busy += 1;
        let pid = process.pid;
        Some((fd, Claim { kept: self, pid }))
    }

    /// Keeps a connection to the process `pid`, over which nothing is under way.
    pub fn keep(&self, pid: u32, fd: OwnedFd) {
        let mut known = self.known();
        if let Some(process) = known.iter_mut().find(|process| process.pid == pid) {
            if process.idle.len() < MOST_IDLE {
                process.idle.push(fd);
            }
            return;
        }
        // Processes of before, of which the first has long left.
        if known.len() > 2 * self.processes {
            known.remove(0);
        }
        known.push(Process {
            pid,
            busy: 0,
            idle: vec![fd],
        });
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn fd() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn what_was_kept_last_is_taken_first() {
        let kept = Kept::new(1);
        assert!(kept.take().is_none());
        let (one, two) = (fd(), fd());
        let numbers = [two.as_raw_fd(), one.as_raw_fd()];
        kept.keep(7, one);
        kept.keep(7, two);
        let taken = [(); 2].map(|()| kept.take().unwrap());
        assert_eq!(taken.each_ref().map(|(fd, _)| fd.as_raw_fd()), numbers);
        assert!(kept.take().is_none());
    }

    #[test]
    fn of_several_processes_the_one_with_fewest_requests_is_taken() {
        let kept = Kept::new(2);
        for pid in [7, 8, 7, 8] {
            kept.keep(pid, fd());
        }
        let taken: Vec<_> = std::iter::from_fn(|| kept.take()).collect();
        let pids: Vec<_> = taken.iter().map(|(_, claim)| claim.pid).collect();
        assert_eq!(pids.len(), 4);
        assert!(pids[0] != pids[1] && pids[2] != pids[3], "{pids:?}");
    }

    #[test]
    fn a_process_that_is_not_connected_to_is_given_its_chance() {
        let kept = Kept::new(2);
        kept.keep(7, fd());
        kept.keep(7, fd());
        let _first = kept.take().unwrap();
        assert!(kept.take().is_none());
        kept.keep(8, fd());
        let (_, claim) = kept.take().unwrap();
        assert_eq!(claim.pid, 8);
        // Both have one now.
        assert_eq!(kept.take().unwrap().1.pid, 7);
    }

    #[test]
    fn a_process_that_is_forgotten_is_sent_nothing_more() {
        let kept = Kept::new(1);
        kept.keep(7, fd());
        kept.keep(7, fd());
        let (_fd, claim) = kept.take().unwrap();
        claim.forget();
        drop(claim);
        assert!(kept.take().is_none());
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let kept = Kept::new(2);
        for pid in 0..100 {
            for _ in 0..3 {
                kept.keep(pid, fd());
            }
        }
        for _ in 0..2 * MOST_IDLE {
            kept.keep(99, fd());
        }
        let known = kept.known();
        assert_eq!(known.len(), 5);
        assert_eq!(known.last().unwrap().idle.len(), MOST_IDLE);
    }
}
