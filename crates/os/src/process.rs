//! Child processes after they were started, and what a process knows about itself.

use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use crate::spawn::{Failure, Step};
use crate::{checked, signal, uninterrupted};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Status(i32),
    /// A signal ended it.
    Signal { number: i32, core_dumped: bool },
    /// Other code in this process has fetched its status.
    Unknown,
}

impl Exit {
    fn decode(status: libc::c_int) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Signal {
                number: libc::WTERMSIG(status),
                core_dumped: libc::WCOREDUMP(status),
            }
        } else {
            Self::Status(libc::WEXITSTATUS(status))
        }
    }
}

/// "exited with status 1", "was killed by SIGKILL (signal 9)".
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Status(status) => write!(f, "exited with status {status}"),
            Self::Signal {
                number,
                core_dumped,
            } => {
                write!(
                    f,
                    "was killed by {} (signal {number})",
                    signal::name(number)
                )?;
                f.write_str(if core_dumped { ", core dumped" } else { "" })
            }
            Self::Unknown => f.write_str("ended"),
        }
    }
}

/// A process started by [`crate::spawn::Command::spawn`].
///
/// Dropping it neither ends nor reaps the process.
#[derive(Debug)]
pub struct Child {
    /// Greater than 0, always.
    pid: libc::pid_t,
    /// Absent on kernels before 5.3.
    pidfd: Option<OwnedFd>,
    /// On this pipe the new process reports a step that failed; it closes when the program runs.
    report: Option<std::fs::File>,
    /// Set once the status was fetched: from then on the number may belong to somebody else.
    exit: Option<Exit>,
}

impl Child {
    /// `pid` is a child that has not been waited for.
    pub(crate) fn new(pid: libc::pid_t, report: OwnedFd) -> Self {
        assert!(pid > 0, "fork gives its child's number to the parent");
        // SAFETY: touches no memory.
        let pidfd = checked(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
            .ok()
            // SAFETY: pidfd_open succeeded, so the descriptor is open and nobody else's.
            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) });
        Self {
            pid,
            pidfd,
            report: Some(report.into()),
            exit: None,
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Readable once the process has ended. `None` on kernels that lack it: there SIGCHLD tells.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Readable once [`Child::started`] has an answer; `None` after it gave one.
    pub fn report(&self) -> Option<BorrowedFd<'_>> {
        self.report.as_ref().map(AsFd::as_fd)
    }

    /// Whether the program runs. `None` while that is unknown, and after it was returned once. On
    /// failure the process is about to exit, and must be reaped as usual.
    pub fn started(&mut self) -> Option<Result<(), Failure>> {
        let mut encoded = [0; Failure::LEN];
        let result = match self.report.as_mut()?.read(&mut encoded) {
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => return None,
                _ => Ok(()),
            },
            Ok(Failure::LEN) => Err(Failure::decode(encoded)),
            Ok(0) => Ok(()),
            // A pipe does not split eight bytes, so this cannot happen; report a failure.
            Ok(_) => Err(Failure {
                step: Step::Exec,
                errno: libc::EIO,
            }),
        };
        self.report = None;
        Some(result)
    }

    /// [`Child::started`], waiting up to `limit`; `None` when it has passed.
    pub fn wait_started(&mut self, limit: std::time::Duration) -> Option<Result<(), Failure>> {
        let report = self.report()?;
        let mut wanted = [crate::poll::Wanted::readable(report)];
        crate::poll::poll_uninterrupted(&mut wanted, Some(limit)).ok()?;
        self.started()
    }

    /// How it ended, if it has; reaps it.
    pub fn try_wait(&mut self) -> io::Result<Option<Exit>> {
        if self.exit.is_some() {
            return Ok(self.exit);
        }
        let mut status = 0;
        let reaped = uninterrupted(|| {
            // SAFETY: `status` is writable.
            checked(unsafe { libc::waitpid(self.pid, &mut status, libc::WNOHANG) })
        });
        self.exit = match reaped {
            Ok(0) => None,
            Ok(_) => Some(Exit::decode(status)),
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Some(Exit::Unknown),
            Err(error) => return Err(error),
        };
        Ok(self.exit)
    }

    /// Waits for its end, up to `limit`; `None` when that has passed.
    pub fn wait(&mut self, limit: std::time::Duration) -> io::Result<Option<Exit>> {
        let end = crate::clock::monotonic() + limit;
        loop {
            let left = end.saturating_sub(crate::clock::monotonic());
            match self.try_wait()? {
                None if !left.is_zero() => {}
                done => return Ok(done),
            }
            match self.pidfd() {
                Some(pidfd) => {
                    let mut wanted = [crate::poll::Wanted::readable(pidfd)];
                    crate::poll::poll_uninterrupted(&mut wanted, Some(left))?;
                }
                None => std::thread::sleep(left.min(std::time::Duration::from_millis(10))),
            }
        }
    }

    /// Sends it a signal. Nothing is sent once it was reaped.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        if self.exit.is_some() {
            return Ok(());
        }
        let sent = match &self.pidfd {
            // SAFETY: no siginfo is given; touches no memory.
            Some(pidfd) => unsafe {
                libc::syscall(
                    libc::SYS_pidfd_send_signal,
                    pidfd.as_raw_fd(),
                    number,
                    std::ptr::null::<libc::siginfo_t>(),
                    0,
                )
            },
            // Not reaped, so the number is still this child's; greater than 0, so it is no group.
            // SAFETY: touches no memory.
            None => libc::c_long::from(unsafe { libc::kill(self.pid, number) }),
        };
        match checked(sent) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
            _ => Ok(()),
        }
    }
}

/// The largest number that Linux gives to a process.
pub const MAX_PID: u32 = 1 << 22;

/// The number of this process.
pub fn id() -> u32 {
    std::process::id()
}

/// The number of its parent; 1 or a sub-reaper's once that is gone.
pub fn parent_id() -> u32 {
    // SAFETY: cannot fail and touches no memory.
    unsafe { libc::getppid() }.unsigned_abs()
}

/// Real and effective user and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    pub uid: u32,
    pub effective_uid: u32,
    pub gid: u32,
    pub effective_gid: u32,
}

/// The user that this process runs as.
pub fn ids() -> Ids {
    // SAFETY: none of them can fail or touches memory.
    unsafe {
        Ids {
            uid: libc::getuid(),
            effective_uid: libc::geteuid(),
            gid: libc::getgid(),
            effective_gid: libc::getegid(),
        }
    }
}

/// Memory of a process that is not swapped out (RSS), in bytes, as it is now. `None` where there is
/// no such process, or no `/proc`.
pub fn resident_memory(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: touches no memory.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.checked_mul(u64::try_from(size).ok()?)
}

/// What a process or a thread has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time in user mode.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// The most memory the process has had that was not swapped out, in bytes.
    pub peak_memory: u64,
}

/// What this process has used.
pub fn usage() -> Usage {
    usage_of(libc::RUSAGE_SELF)
}

/// What the calling thread has used.
pub fn usage_of_thread() -> Usage {
    usage_of(libc::RUSAGE_THREAD)
}

fn usage_of(who: libc::c_int) -> Usage {
    // SAFETY: plain numbers, for which zero is valid.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `used` can be written to; of the two values of `who` none can fail.
    unsafe { libc::getrusage(who, &mut used) };
    let duration = |time: libc::timeval| {
        let micros = u64::try_from(time.tv_usec).unwrap_or_default();
        Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or_default())
            + Duration::from_micros(micros)
    };
    Usage {
        user: duration(used.ru_utime),
        system: duration(used.ru_stime),
        // The kernel counts in KiB.
        peak_memory: u64::try_from(used.ru_maxrss).unwrap_or_default() * 1024,
    }
}

/// How many processes the kernel has killed for want of memory since it runs. `None` where it does
/// not say.
pub fn killed_for_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line?.parse().ok()
}

/// The living child processes of a process, each with the moment it was started, by
/// [`clock::since_boot`] and rounded down to the kernel's tick. Empty where there is no `/proc`.
///
/// [`clock::since_boot`]: crate::clock::since_boot
pub fn children(parent: u32) -> Vec<(u32, Duration)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let pids = names.filter_map(|name| name.to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (is_alive, its_parent, started) = parse_stat(&stat)?;
        (is_alive && its_parent == parent).then_some((pid, started))
    })
    .collect()
}

/// Whether a process lives, its parent, and when it was started, as its row of `/proc` says. Its
/// name, which may hold anything, stands in parentheses before that.
fn parse_stat(stat: &str) -> Option<(bool, u32, Duration)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let is_alive = !matches!(*fields.first()?, "Z" | "X");
    let parent = fields.get(1)?.parse().ok()?;
    let ticks: u64 = fields.get(19)?.parse().ok()?;
    Some((is_alive, parent, tick() * u32::try_from(ticks).ok()?))
}

/// The unit in which the kernel says when a process was started.
pub fn tick() -> Duration {
    // SAFETY: touches no memory.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(100).max(1)
}

/// The file a process runs, as the kernel names it: the same text for all that run the same file.
pub fn program(pid: u32) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// Whether a file, by its path, is mapped into a process; also where another file has taken its
/// path since. `None` where that cannot be seen.
pub fn has_mapped(pid: u32, path: &[u8]) -> Option<bool> {
    let maps = std::fs::read(format!("/proc/{pid}/maps")).ok()?;
    let mut lines = maps.split(|&byte| byte == b'\n');
    let deleted = [path, b" (deleted)"].concat();
    Some(lines.any(|line| line.ends_with(path) || line.ends_with(&deleted)))
}

/// Whether there is a process of that number, be it a zombie.
pub fn exists(pid: u32) -> bool {
    let Ok(pid @ 1..) = libc::pid_t::try_from(pid) else {
        return false;
    };
    // SAFETY: signal 0 is none; touches no memory.
    let sent = checked(unsafe { libc::kill(pid, 0) });
    !matches!(sent, Err(error) if error.raw_os_error() == Some(libc::ESRCH))
}

/// Ends the process without running destructors, atexit functions or the C library's flushing.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit does not return and runs nothing of ours.
    unsafe { libc::_exit(status) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::spawn::Command;

    const LIMIT: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Child {
        let args = [&b"sh"[..], b"-c", script.as_bytes()];
        let mut child = Command::new(b"/bin/sh", &args).spawn().unwrap();
        assert_eq!(child.wait_started(LIMIT), Some(Ok(())));
        child
    }

    #[test]
    fn an_exit_status_and_a_signal_are_told_apart() {
        let mut child = shell("exit 3");
        assert_eq!(child.wait(LIMIT).unwrap(), Some(Exit::Status(3)));
        assert_eq!(child.try_wait().unwrap(), Some(Exit::Status(3)));
        let mut child = shell("kill -9 $$");
        let exit = child.wait(LIMIT).unwrap().unwrap();
        assert_eq!(exit.to_string(), "was killed by SIGKILL (signal 9)");
    }

    #[test]
    fn children_are_found_with_the_moment_of_their_start_and_their_program() {
        let before = crate::clock::since_boot();
        // Not by a shell: that would be found under its own name until it has become the program.
        let mut child = Command::new(b"/bin/sleep", &[&b"sleep"[..], b"1000"])
            .spawn()
            .unwrap();
        assert_eq!(child.wait_started(LIMIT), Some(Ok(())));
        let found = children(id());
        let (_, started) = found.iter().find(|(pid, _)| *pid == child.pid()).unwrap();
        assert!(*started + tick() > before && *started <= crate::clock::since_boot());
        let program = program(child.pid()).unwrap();
        assert!(program.ends_with("sleep") || program.ends_with("coreutils"));
        let path = program.into_os_string().into_encoded_bytes();
        assert_eq!(has_mapped(child.pid(), &path), Some(true));
        assert_eq!(has_mapped(child.pid(), b"/no/such.so"), Some(false));
        child.signal(signal::SIGKILL).unwrap();
        let odd = "7 (a) b) c) S 42 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 300 1 2";
        assert_eq!(parse_stat(odd), Some((true, 42, tick() * 300)));
        assert_eq!(parse_stat("7 (zombie) Z 42"), None);
    }

    #[test]
    fn memory_in_use_is_told_of_processes_that_are_there() {
        let own = resident_memory(id()).unwrap();
        assert!((100_000..100_000_000_000).contains(&own), "{own}");
        assert_eq!(resident_memory(u32::MAX), None);
    }

    #[test]
    fn a_running_child_can_be_signalled_and_a_reaped_one_no_more() {
        let mut child = shell("exec sleep 1000");
        assert_eq!(child.try_wait().unwrap(), None);
        assert_eq!(child.wait(Duration::from_millis(5)).unwrap(), None);
        child.signal(signal::SIGTERM).unwrap();
        assert!(matches!(
            child.wait(LIMIT).unwrap(),
            Some(Exit::Signal { number: 15, .. })
        ));
        child.signal(signal::SIGKILL).unwrap();
    }
}
