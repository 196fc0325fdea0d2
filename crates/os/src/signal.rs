//! Signals: into a pipe that a poll loop reads, and as a tap on the shoulder of one thread.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use crate::{checked, descriptor};

pub use libc::{
    SIGCHLD, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU,
};

/// The pipe's writing end, for the handler; -1 before there is one.
static PIPE: AtomicI32 = AtomicI32::new(-1);
/// The process that installed the handler.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// Signals as something to read. One per process.
///
/// The handler writes the number into a pipe and does nothing else. Handlers and pipe stay for
/// the life of the process: a signal may be on its way at any time.
#[derive(Debug)]
pub struct Arrivals {
    reader: std::fs::File,
}

extern "C" fn note(number: libc::c_int) {
    // SAFETY: errno's place is this thread's own; the handler must leave it as it was.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: getpid touches no memory and is async-signal-safe.
    let own = unsafe { libc::getpid() } == OWNER.load(Ordering::Relaxed);
    if own {
        let byte = number as u8;
        // A full pipe loses nothing: who reads it has not been there yet and looks at everything.
        // SAFETY: writes one byte from the stack; write is async-signal-safe, the descriptor is
        // never closed, and the pipe does not block.
        unsafe { libc::write(PIPE.load(Ordering::Relaxed), (&raw const byte).cast(), 1) };
    } else {
        // A process that the application forked: it has the handler but not the loop that reads
        // the pipe, and the pipe is its parent's. It gets what it would get without us.
        // SAFETY: both calls are async-signal-safe.
        unsafe {
            libc::signal(number, libc::SIG_DFL);
            libc::raise(number);
        }
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

pub(crate) fn handle(number: i32, handler: libc::sighandler_t, flags: i32) -> io::Result<()> {
    // SAFETY: all-zero is a valid sigaction: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: `action` is valid, and its handler is one of this module's or a SIG_ constant.
    checked(unsafe { libc::sigaction(number, &action, std::ptr::null_mut()) })?;
    Ok(())
}

impl Arrivals {
    /// From now on these signals arrive in the pipe. System calls they interrupt start again,
    /// save those that never do, as poll.
    ///
    /// # Errors
    /// `AlreadyExists` the second time.
    pub fn install(numbers: &[i32]) -> io::Result<Self> {
        let (reader, writer) = descriptor::pipe()?;
        descriptor::set_nonblocking(reader.as_fd())?;
        descriptor::set_nonblocking(writer.as_fd())?;
        PIPE.compare_exchange(-1, writer.as_raw_fd(), Ordering::Relaxed, Ordering::Relaxed)
            .map_err(|_| io::ErrorKind::AlreadyExists)?;
        // The handler owns it from here on.
        std::mem::forget(writer);
        // SAFETY: getpid cannot fail.
        OWNER.store(unsafe { libc::getpid() }, Ordering::Relaxed);
        for &number in numbers {
            handle(
                number,
                note as *const () as libc::sighandler_t,
                libc::SA_RESTART,
            )?;
        }
        Ok(Self {
            reader: reader.into(),
        })
    }

    /// Routes one more signal here.
    pub fn add(&self, number: i32) -> io::Result<()> {
        handle(
            number,
            note as *const () as libc::sighandler_t,
            libc::SA_RESTART,
        )
    }

    /// What has arrived since last time, in order; a signal may be there twice.
    pub fn drain(&mut self) -> Vec<i32> {
        let mut arrived = Vec::new();
        let mut buffer = [0; 256];
        while let Ok(count @ 1..) = self.reader.read(&mut buffer) {
            arrived.extend(buffer[..count].iter().map(|&b| i32::from(b)));
            if count < buffer.len() {
                break;
            }
        }
        arrived
    }

    /// Blocks until at least one has arrived.
    pub fn wait(&mut self) -> io::Result<Vec<i32>> {
        loop {
            let mut wanted = [crate::poll::Wanted::readable(self.reader.as_fd())];
            crate::poll::poll_uninterrupted(&mut wanted, None)?;
            let arrived = self.drain();
            if !arrived.is_empty() {
                return Ok(arrived);
            }
        }
    }
}

impl AsFd for Arrivals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// Discards the signal.
pub fn ignore(number: i32) -> io::Result<()> {
    handle(number, libc::SIG_IGN, 0)
}

/// Gives the signal its default meaning.
pub fn set_default(number: i32) -> io::Result<()> {
    handle(number, libc::SIG_DFL, 0)
}

/// A thread of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thread {
    tid: libc::pid_t,
}

impl Thread {
    /// The calling thread. Asked of the kernel once a thread: in a forked process the number is
    /// that of the thread that forked.
    pub fn current() -> Self {
        thread_local! {
            // SAFETY: cannot fail and touches no memory.
            static OWN: libc::pid_t = unsafe { libc::syscall(libc::SYS_gettid) } as libc::pid_t;
        }
        Self {
            tid: OWN.with(|tid| *tid),
        }
    }

    /// The kernel's number of the thread, as in log lines.
    pub fn id(self) -> u32 {
        self.tid.unsigned_abs()
    }

    /// Sends the thread SIGTERM; for one that has ended, nothing.
    pub fn terminate(self) {
        let _ = self.raise(libc::SIGTERM);
    }

    /// Sends the thread a signal.
    pub(crate) fn raise(self, number: i32) -> io::Result<()> {
        // SAFETY: touches no memory; callers have given the signal a handler, and it goes to no
        // thread outside this process.
        checked(unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.tid, number) })?;
        Ok(())
    }
}

/// All signals blocked in this thread until dropped.
#[derive(Debug)]
#[must_use]
pub struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    pub fn all() -> io::Result<Self> {
        let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        let mut every = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset initialises `every`, which pthread_sigmask reads, and the latter
        // initialises `before` when it succeeds.
        unsafe {
            libc::sigfillset(every.as_mut_ptr());
            match libc::pthread_sigmask(libc::SIG_SETMASK, every.as_ptr(), before.as_mut_ptr()) {
                0 => Ok(Self {
                    before: before.assume_init(),
                }),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: `before` is a set the kernel gave; SIG_SETMASK with one cannot fail.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}

/// All signals to their defaults and an empty mask. For a fresh child: async-signal-safe.
pub(crate) fn reset_all() -> io::Result<()> {
    for number in 1..=libc::SIGRTMAX() {
        // KILL, STOP and those of the C library itself refuse, rightly.
        let _ = set_default(number);
    }
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises `none`, which sigprocmask reads.
    checked(unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut())
    })?;
    Ok(())
}

/// The name of a signal as people know it; `"signal"` for those without one.
pub fn name(number: i32) -> &'static str {
    match number {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => "signal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_arrive_in_the_pipe() {
        let mut arrivals = Arrivals::install(&[SIGUSR1]).unwrap();
        assert!(Arrivals::install(&[]).is_err());
        // SAFETY: raises a signal whose handler is installed.
        unsafe { libc::raise(SIGUSR1) };
        assert_eq!(arrivals.wait().unwrap(), [SIGUSR1]);
        assert_eq!(arrivals.drain(), []);
    }

    #[test]
    fn blocking_signals_ends_with_the_guard() {
        let blocked = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = status.lines().find(|l| l.starts_with("SigBlk:")).unwrap();
            u64::from_str_radix(line[7..].trim(), 16).unwrap()
        };
        let before = blocked();
        let guard = Blocked::all().unwrap();
        assert_ne!(blocked() & 1 << (SIGTERM - 1), 0);
        drop(guard);
        assert_eq!(blocked(), before);
    }
}
