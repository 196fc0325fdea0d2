//! Descriptors that are not sockets, and what all descriptors have in common.
//!
//! Reading and writing them is std's: `std::fs::File::from(OwnedFd)`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{c_string, checked, uninterrupted};

/// The flag of open(2) for non-blocking opening, reading and writing.
pub const NONBLOCK: i32 = libc::O_NONBLOCK;

/// A pipe, reading end first; both ends close on exec.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for the two descriptors.
    checked(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: pipe2 succeeded, so both are open and nobody else's.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Opens `path` with open(2) `flags`; close-on-exec is added.
pub fn open(path: &[u8], flags: i32) -> io::Result<OwnedFd> {
    let path = c_string(path)?;
    // The bits of O_TMPFILE contain those of O_DIRECTORY.
    let creating = libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY);
    uninterrupted(|| {
        // SAFETY: `path` is a C string; no mode is needed, since files are not created.
        let fd =
            checked(unsafe { libc::open(path.as_ptr(), (flags & !creating) | libc::O_CLOEXEC) })?;
        // SAFETY: open succeeded, so the descriptor is open and nobody else's.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    })
}

/// `/dev/null` for reading and writing.
pub fn null() -> io::Result<OwnedFd> {
    open(b"/dev/null", libc::O_RDWR)
}

/// Whether a file is on a file system that keeps it on this machine, in memory or on a disk, so
/// that what the kernel holds of it is what it is. One that is not known to do so does not.
pub fn is_on_own_disk(file: BorrowedFd<'_>) -> bool {
    const OWN: [u32; 8] = [
        0xEF53,      // ext2 to ext4
        0x5846_5342, // xfs
        0x9123_683E, // btrfs
        0xF2F5_2010, // f2fs
        0x2FC1_2FC1, // zfs
        0x0102_1994, // tmpfs
        0x8584_58F6, // ramfs
        0x794C_7630, // overlayfs: what containers have over one of these
    ];
    let mut facts = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `facts` is writable for what fstatfs fills in.
    let found = checked(unsafe { libc::fstatfs(file.as_raw_fd(), facts.as_mut_ptr()) });
    // SAFETY: filled in where the call succeeded.
    found.is_ok() && OWN.contains(&(unsafe { facts.assume_init() }.f_type as u32))
}

/// What [`may`] asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    /// To run a file, or to pass through a directory.
    Execute,
}

/// Whether this process, as whom it acts, may use the file or directory so. Asks the kernel, so
/// access lists and security modules have their say; links are followed.
///
/// # Errors
/// `PermissionDenied` where it may not; `NotFound` and others where the path leads nowhere.
pub fn may(access: Access, path: &[u8]) -> io::Result<()> {
    let path = c_string(path)?;
    let mode = match access {
        Access::Read => libc::R_OK,
        Access::Write => libc::W_OK,
        Access::Execute => libc::X_OK,
    };
    // SAFETY: `path` is a C string.
    checked(unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_EACCESS) })
        .map(drop)
}

/// A descriptor of its own, open for appending and not blocking, of the file or pipe that `fd`
/// is: unlike a duplicate it shares no flags with `fd`.
///
/// # Errors
/// A socket can't be opened again, nor anything where `/proc` is not mounted.
pub fn reopen_for_appending(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    open(
        format!("/proc/self/fd/{}", fd.as_raw_fd()).as_bytes(),
        libc::O_WRONLY | libc::O_APPEND | libc::O_NONBLOCK | libc::O_NOCTTY,
    )
}

/// Redirects standard output and standard error to `fd`. Duplicates of the old ones stay open.
pub fn redirect_output(fd: BorrowedFd<'_>) -> io::Result<()> {
    for standard in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: touches no memory. Both numbers are by convention nobody's own, so that what is
        // closed by this has no owner who could be surprised.
        uninterrupted(|| checked(unsafe { libc::dup2(fd.as_raw_fd(), standard) }))?;
    }
    Ok(())
}

/// Standard error, without the lock that std keeps around it: a process forked by another thread
/// would find that lock taken for ever.
pub fn standard_error() -> BorrowedFd<'static> {
    // SAFETY: by convention descriptor 2 stays open; where the application has closed it, calls
    // fail with EBADF.
    unsafe { BorrowedFd::borrow_raw(libc::STDERR_FILENO) }
}

/// Whether calls on `fd` return at once with `WouldBlock` where they would have to wait.
pub fn is_nonblocking(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: F_GETFL reads flags and touches no memory.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    flags != -1 && flags & libc::O_NONBLOCK != 0
}

/// Makes `fd`, and every descriptor that shares its open file description, non-blocking.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: F_GETFL reads flags and touches no memory.
    let flags = checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    if flags & libc::O_NONBLOCK == 0 {
        // SAFETY: F_SETFL sets flags and touches no memory.
        checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    }
    Ok(())
}

/// Whether `fd` is closed by exec.
pub fn set_close_on_exec(fd: BorrowedFd<'_>, close: bool) -> io::Result<()> {
    let flag = if close { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: F_SETFD sets flags and touches no memory.
    checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, flag) })?;
    Ok(())
}

/// Whether the number is an open descriptor of this process.
pub fn is_open(number: i32) -> bool {
    // SAFETY: F_GETFD touches no memory, and EBADF is an answer.
    unsafe { libc::fcntl(number, libc::F_GETFD) != -1 }
}

/// A descriptor of the caller's own for the same open file as number `number`, which somebody else
/// may close at any time.
pub fn duplicate(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: fcntl fails where the number is not open.
    let own = checked(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: fcntl succeeded, so it is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(own) })
}

/// Takes over a descriptor that this process inherited by number, as a worker its 3 and 4.
/// It closes on exec from then on.
///
/// What exec let through is known by the close-on-exec flag, which it lacks: everything opened
/// here and by std has it. So no number is given out twice, and none that has an owner.
///
/// # Errors
/// `EBADF` where it is not open; `AlreadyExists` where it has an owner; `InvalidInput` for 0 to 2,
/// which are everybody's.
pub fn take_inherited(number: i32) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: F_GETFD touches no memory.
    if checked(unsafe { libc::fcntl(number, libc::F_GETFD) })? & libc::FD_CLOEXEC != 0 {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // SAFETY: F_SETFD touches no memory.
    checked(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: open, and without an owner in Rust, as found above.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn access_is_asked_of_the_kernel() {
        may(Access::Execute, b"/bin/sh").unwrap();
        may(Access::Read, b"/").unwrap();
        let missing = may(Access::Read, b"/no/such").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_in_memory_is_on_this_machine_and_one_that_is_made_as_it_is_read_is_not() {
        // SAFETY: the name is a C string; the descriptor is nobody else's.
        let memory = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"x".as_ptr(), 0)) };
        assert!(is_on_own_disk(memory.as_fd()));
        let generated = open(b"/proc/self/status", libc::O_RDONLY).unwrap();
        assert!(!is_on_own_disk(generated.as_fd()));
    }

    #[test]
    fn a_reopened_pipe_does_not_share_its_flags() {
        let (reader, writer) = pipe().unwrap();
        let again = reopen_for_appending(writer.as_fd()).unwrap();
        let mut again = std::fs::File::from(again);
        let block = [0; 65536];
        while again.write(&block).is_ok() {}
        // SAFETY: F_GETFL touches no memory.
        let flags = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0);
        drop((again, writer));
        let mut all = Vec::new();
        std::fs::File::from(reader).read_to_end(&mut all).unwrap();
        assert!(!all.is_empty());
    }

    #[test]
    fn a_descriptor_can_be_made_non_blocking() {
        let (reader, _writer) = pipe().unwrap();
        set_nonblocking(reader.as_fd()).unwrap();
        let mut reader = std::fs::File::from(reader);
        let nothing = reader.read(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn only_what_is_open_and_without_an_owner_can_be_taken_over() {
        let (reader, _writer) = pipe().unwrap();
        assert!(take_inherited(2).is_err() && take_inherited(99_999).is_err());
        assert!(take_inherited(reader.as_raw_fd()).is_err());
        // SAFETY: dup touches no memory.
        let bare = unsafe { libc::dup(reader.as_raw_fd()) };
        let inherited = take_inherited(bare).unwrap();
        assert!(take_inherited(bare).is_err() && is_open(inherited.as_raw_fd()));
    }
}
