//! Safe functions over libc: descriptors, sockets, processes, identity, limits, signals, clocks.
//!
//! All processes link this crate. Every function is safe to call and checks what the kernel
//! returns. What has a state (a child process, a listener, a pipe of signals) is a value that owns
//! it. Nothing here knows about WSGI, Apache or Python.

pub mod accounts;
pub mod backlog;
pub mod clock;
pub mod descriptor;
mod directory;
pub mod dump;
pub mod epoll;
pub mod listener;
pub mod memory;
pub mod poll;
pub mod process;
pub mod random;
pub mod rlimit;
pub mod shared;
pub mod signal;
pub mod socket;
pub mod spawn;
pub mod symbol;
pub mod syslog;
pub mod temporary;
pub mod title;
pub mod write_now;

use std::io;

/// `-1` becomes the error in `errno`.
pub(crate) fn checked<N: Copy + PartialEq + From<i8>>(returned: N) -> io::Result<N> {
    if returned == N::from(-1) {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}

/// Repeats the call while a signal interrupts it.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// A path or string for the kernel.
///
/// # Errors
/// `InvalidInput` where it holds a NUL byte.
pub(crate) fn c_string(bytes: &[u8]) -> io::Result<std::ffi::CString> {
    std::ffi::CString::new(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "holds a NUL byte"))
}
