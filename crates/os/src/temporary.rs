//! Files without a name, for what is too large for memory.
//!
//! Runs in: Apache children. Such a file is gone with its last descriptor, however the process
//! ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::checked;
use crate::random;
use crate::rlimit::Resource;

/// How often another name is tried.
const MOST_TRIES: u32 = 8;

/// A new file in `directory` that only this user may open and that has no name.
///
/// # Errors
/// Those of open(2): the directory is not there or not writable, or there are no descriptors left.
pub fn file_in(directory: &Path) -> io::Result<File> {
    match options().custom_flags(libc::O_TMPFILE).open(directory) {
        // What file systems without such files say, and kernels that don't know the flag.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
            unlinked_in(directory)
        }
        done => done,
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// The same where the file has to have a name for a moment. A link of that name is not followed.
fn unlinked_in(directory: &Path) -> io::Result<File> {
    let mut tries = 0;
    loop {
        let name = u128::from_ne_bytes(random::bytes16()?);
        let path = directory.join(format!(".wsgi-{name:032x}"));
        match options().create_new(true).open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < MOST_TRIES => {
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// What a file system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this user may still take.
    pub free: u64,
    /// Bytes in all.
    pub all: u64,
}

/// The space of the file system that `file` is on.
pub fn space(file: BorrowedFd<'_>) -> io::Result<Space> {
    let mut facts = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `facts` is writable for what fstatvfs fills in.
    checked(unsafe { libc::fstatvfs(file.as_fd().as_raw_fd(), facts.as_mut_ptr()) })?;
    // SAFETY: filled in, since the call succeeded.
    let facts = unsafe { facts.assume_init() };
    let bytes = |blocks: u64| blocks.saturating_mul(facts.f_frsize);
    Ok(Space {
        free: bytes(facts.f_bavail),
        all: bytes(facts.f_blocks),
    })
}

/// How long a file of this process may become. A write past that ends the process with SIGXFSZ.
pub fn longest_file() -> u64 {
    Resource::FileSize
        .limit()
        .map_or(u64::MAX, |limit| limit.soft)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    fn directory(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("wsgi-os-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_temporary_file_has_no_name_and_is_for_its_user_alone() {
        let directory = directory("temporary");
        for make in [file_in, unlinked_in] {
            let file = make(&directory).unwrap();
            let facts = file.metadata().unwrap();
            assert_eq!((facts.nlink(), facts.mode() & 0o7777), (0, 0o600));
            assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
            file.write_all_at(b"two", 3).unwrap();
            let mut back = [9; 6];
            file.read_exact_at(&mut back, 0).unwrap();
            assert_eq!(&back, b"\0\0\0two");
        }
        std::fs::remove_dir(&directory).unwrap();
        assert_eq!(
            file_in(&directory).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn a_file_system_has_some_space() {
        let space = space(file_in(&std::env::temp_dir()).unwrap().as_fd()).unwrap();
        assert!(space.all > 0 && space.free <= space.all);
        assert!(longest_file() > 0);
    }
}
