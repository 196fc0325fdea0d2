//! A small piece of memory that one process writes and another one looks into.
//!
//! Made in the supervisor, one for each worker, and handed to that worker as a descriptor. The
//! worker maps it and writes with plain stores: telling what it does costs no system call. The
//! supervisor never maps it. It takes a copy with pread(2), so nothing the worker does to the
//! memory (tearing values, punching holes) can be more to the reader than odd numbers in a buffer
//! of its own: no fault, no signal, no value that changes between check and use.
//!
//! The size is fixed by seals before the worker sees the descriptor. There are no locks: every cell
//! is an atomic number, and a copy may hold cells of different moments.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use crate::{c_string, checked, uninterrupted};

/// Bytes of one cell.
pub const CELL: usize = size_of::<u64>();

/// The reader's side: the memory as a descriptor.
#[derive(Debug)]
pub struct Shared {
    memory: std::fs::File,
    cells: usize,
}

impl Shared {
    /// Memory of `cells` cells, all zero, which can neither grow nor shrink any more. `name` is
    /// what `/proc/PID/maps` shows of it.
    pub fn create(name: &str, cells: usize) -> io::Result<Self> {
        let name = c_string(name.as_bytes())?;
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: a C string.
        let fd = checked(unsafe { libc::memfd_create(name.as_ptr(), flags) })?;
        // SAFETY: memfd_create succeeded, so the descriptor is open and nobody else's.
        let memory = unsafe { OwnedFd::from_raw_fd(fd) };
        let length = libc::off_t::try_from(cells * CELL)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // Also allocates the pages, so that a machine short of memory says so here, with an error,
        // and not at some store of the worker's, with a signal.
        // SAFETY: touches no memory of this process.
        uninterrupted(|| checked(unsafe { libc::fallocate(fd, 0, 0, length) }))?;
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: touches no memory.
        checked(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) })?;
        Ok(Self {
            memory: memory.into(),
            cells,
        })
    }

    /// A copy of the cells as they are now. Each is anybody's number.
    pub fn copy(&self) -> io::Result<Vec<u64>> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; self.cells * CELL];
        self.memory.read_exact_at(&mut bytes, 0)?;
        let cells = bytes.chunks_exact(CELL).map(|cell| {
            // A chunk of exactly that size.
            u64::from_ne_bytes(cell.try_into().unwrap_or_default())
        });
        Ok(cells.collect())
    }
}

impl std::os::fd::AsFd for Shared {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

/// The writer's side: the memory mapped into this process, as long as this lives.
#[derive(Debug)]
pub struct Mapped {
    first: NonNull<AtomicU64>,
    cells: usize,
}

// SAFETY: nothing but atomic cells can be reached through it.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps what [`Shared::create`] has made, however many cells it has, and closes the
    /// descriptor.
    ///
    /// # Errors
    /// `InvalidInput` where the descriptor is no memory whose size is sealed: a mapping past the
    /// end of something that was cut short would kill this process.
    pub fn open(memory: OwnedFd) -> io::Result<Self> {
        let fd = memory.as_raw_fd();
        // SAFETY: touches no memory.
        let seals = checked(unsafe { libc::fcntl(fd, libc::F_GET_SEALS) })
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let length = std::fs::File::from(memory.try_clone()?).metadata()?.len();
        let length = usize::try_from(length).unwrap_or(0);
        if seals & libc::F_SEAL_SHRINK == 0 || length < CELL {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: a new mapping, at an address of the kernel's choice, of a file that has that
        // length and cannot lose it.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd,
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(mapped.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            first,
            cells: length / CELL,
        })
    }

    /// The cells.
    pub fn cells(&self) -> &[AtomicU64] {
        // SAFETY: a mapping of at least so many cells, page-aligned, which lives as long as `self`;
        // all who reach it do so by atomic accesses, the kernel's copying excepted, and any bits
        // are a number.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.cells) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping of `open`, and no reference into it is left. Cannot fail
        // then.
        unsafe { libc::munmap(self.first.as_ptr().cast(), self.cells * CELL) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    fn writer(shared: &Shared) -> OwnedFd {
        shared.as_fd().try_clone_to_owned().unwrap()
    }

    #[test]
    fn what_one_side_writes_the_other_sees() {
        let shared = Shared::create("test", 600).unwrap();
        assert_eq!(shared.copy().unwrap(), [0; 600]);
        let mapped = Mapped::open(writer(&shared)).unwrap();
        assert_eq!(mapped.cells().len(), 600);
        mapped.cells()[0].store(7, Relaxed);
        mapped.cells()[599].store(u64::MAX, Relaxed);
        let copy = shared.copy().unwrap();
        assert_eq!((copy[0], copy[1], copy[599]), (7, 0, u64::MAX));
        drop(mapped);
        assert_eq!(shared.copy().unwrap()[0], 7);
    }

    #[test]
    fn nobody_can_change_the_size_or_the_seals() {
        let shared = Shared::create("test", 8).unwrap();
        let file = std::fs::File::from(writer(&shared));
        for length in [0, 8, 4096] {
            assert!(file.set_len(length).is_err());
        }
        // SAFETY: touches no memory.
        let sealed = unsafe {
            libc::fcntl(
                shared.as_fd().as_raw_fd(),
                libc::F_ADD_SEALS,
                libc::F_SEAL_WRITE,
            )
        };
        assert_eq!(sealed, -1);
    }

    #[test]
    fn a_writer_that_throws_its_pages_away_harms_nobody() {
        let shared = Shared::create("test", 512).unwrap();
        let mapped = Mapped::open(writer(&shared)).unwrap();
        mapped.cells()[3].store(9, Relaxed);
        // SAFETY: the mapping of `mapped`; afterwards it reads as zero.
        let thrown =
            unsafe { libc::madvise(mapped.first.as_ptr().cast(), 4096, libc::MADV_REMOVE) };
        assert_eq!(thrown, 0);
        assert_eq!(shared.copy().unwrap(), [0; 512]);
        assert_eq!(mapped.cells()[3].load(Relaxed), 0);
    }

    #[test]
    fn only_sealed_memory_is_mapped() {
        let (reader, _writer) = crate::descriptor::pipe().unwrap();
        assert!(Mapped::open(reader).is_err());
        assert!(Mapped::open(crate::descriptor::null().unwrap()).is_err());
    }
}
