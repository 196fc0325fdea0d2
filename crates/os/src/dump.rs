//! Gets the stack of a thread of this process, whatever the thread does and whatever locks it
//! holds.
//!
//! Each of two signals has two handlers: one that somebody else provides writes the stack into a
//! pipe, and passes the signal on to the one here, which ends the record. Both run on the thread
//! that is asked, so that a thread which never comes back from its library is found as well.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use crate::poll::{poll_uninterrupted, Wanted};
use crate::signal::{self, Thread};
use crate::{clock, descriptor};

/// The byte that ends a record. No text contains it.
static END: u8 = 0;
/// Most bytes of a record; a pipe holds as many, so that a handler never has to wait.
const MOST: usize = 64 * 1024;

/// The pipe's writing end, for the handler; -1 before there is one.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// Which threads are to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The one that is asked.
    Own,
    /// All that whoever shows them knows of.
    All,
}

impl Scope {
    /// The signal that asks for it.
    pub fn signal(self) -> i32 {
        // Next to the last one, by which threads are called out of system calls.
        match self {
            Self::Own => libc::SIGRTMAX() - 1,
            Self::All => libc::SIGRTMAX() - 2,
        }
    }
}

extern "C" fn end(_: libc::c_int) {
    // SAFETY: errno's place is this thread's own; the handler must leave it as it was. write is
    // async-signal-safe, the byte is static, and the pipe does not block and is never closed.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(PIPE.load(Ordering::Relaxed), (&raw const END).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

/// Where the records come out. One per process.
#[derive(Debug)]
pub struct Dumps {
    reader: File,
    writer: BorrowedFd<'static>,
}

impl Dumps {
    /// Makes the pipe, and handlers for both signals that end a record. Handlers installed later
    /// write it, and must pass the signal on.
    ///
    /// # Errors
    /// `AlreadyExists` the second time.
    pub fn install() -> io::Result<Self> {
        let (reader, writer) = descriptor::pipe()?;
        descriptor::set_nonblocking(reader.as_fd())?;
        descriptor::set_nonblocking(writer.as_fd())?;
        PIPE.compare_exchange(-1, writer.as_raw_fd(), Ordering::Relaxed, Ordering::Relaxed)
            .map_err(|_| io::ErrorKind::AlreadyExists)?;
        for scope in [Scope::Own, Scope::All] {
            let handler = end as *const () as libc::sighandler_t;
            signal::handle(scope.signal(), handler, libc::SA_RESTART)?;
        }
        // The handlers use it for the life of the process.
        let writer: &'static OwnedFd = Box::leak(Box::new(writer));
        Ok(Self {
            reader: reader.into(),
            writer: writer.as_fd(),
        })
    }

    /// Where the stack is to be written.
    pub fn writer(&self) -> BorrowedFd<'static> {
        self.writer
    }

    /// Has a thread show itself, or all; what has come within `limit`. A thread in a state in which
    /// it takes no signal shows nothing.
    pub fn ask(&mut self, thread: Thread, scope: Scope, limit: Duration) -> Vec<u8> {
        // Left over from one that was too late.
        self.read(&mut Vec::new());
        let mut text = Vec::new();
        if thread.raise(scope.signal()).is_err() {
            return text;
        }
        let until = clock::monotonic() + limit;
        loop {
            if self.read(&mut text) {
                return text;
            }
            let left = until.saturating_sub(clock::monotonic());
            let mut wanted = [Wanted::readable(self.reader.as_fd())];
            if !matches!(poll_uninterrupted(&mut wanted, Some(left)), Ok(1..)) {
                return text;
            }
        }
    }

    /// Takes what is there; true at the end of a record.
    fn read(&mut self, text: &mut Vec<u8>) -> bool {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = self.reader.read(&mut buffer) {
            let piece = &buffer[..count];
            if let Some(at) = piece.iter().position(|&byte| byte == END) {
                text.extend_from_slice(&piece[..at]);
                return true;
            }
            if text.len() < MOST {
                text.extend_from_slice(piece);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_asked_and_a_record_has_an_end() {
        let mut dumps = Dumps::install().unwrap();
        assert!(Dumps::install().is_err());
        let limit = Duration::from_secs(10);
        let own = Thread::current();
        assert_eq!(dumps.ask(own, Scope::Own, limit), b"");
        let (sender, receiver) = std::sync::mpsc::channel();
        let (_keep, wait) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            sender.send(Thread::current()).unwrap();
            let _ = wait.recv();
        });
        let other = receiver.recv_timeout(limit).unwrap();
        assert_eq!(dumps.ask(other, Scope::All, limit), b"");
        let ended = std::thread::spawn(Thread::current).join().unwrap();
        assert_eq!(dumps.ask(ended, Scope::Own, Duration::ZERO), b"");
    }
}
