//! Bytes of a response that do not fit into memory and wait in a temporary file.
//!
//! Runs in: an Apache child. Only a client that is slow costs a file: then a worker's thread is free
//! although the body is large. What is written once is read once, in order. A file has no name and
//! is closed when it has been read to its end, or with its request.
//!
//! Files, their sizes and their sum have bounds. At a bound nothing breaks: the caller does without
//! the file, and the worker waits for the client.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use os::temporary;

use super::descriptors::{CountedDescriptor, DescriptorCount};

/// Room that a file must have to take anything: more than is ever written at once.
const ROOM: u64 = 128 << 10;
/// Bytes that are claimed of the child's bound at once.
const GRAIN: u64 = 1 << 20;
/// Most bytes in the files of a child.
const MOST_BYTES: u64 = 4 << 30;
/// The share of a file system that is left free, as a divisor.
const LEFT_FREE: u64 = 20;

/// What waits for clients in a process takes together.
#[derive(Debug, Default)]
pub struct Usage {
    /// Descriptors of temporary files, and of files that workers passed.
    pub descriptors: DescriptorCount,
    /// Bytes in temporary files.
    bytes: AtomicU64,
}

impl Usage {
    /// Usage of nothing.
    pub const fn new() -> Usage {
        Usage {
            descriptors: DescriptorCount::new(),
            bytes: AtomicU64::new(0),
        }
    }

    fn claim_grain(&self) -> bool {
        let more = |bytes| (bytes + GRAIN <= MOST_BYTES).then_some(bytes + GRAIN);
        let claimed = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        claimed.is_ok()
    }
}

/// Where files are made, and how large they may become.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The directory.
    pub directory: &'a Path,
    /// Most bytes in one file. With 0 there are none.
    pub most: u64,
    /// Most descriptors that wait for clients in this process.
    pub descriptors: usize,
    /// What waits in this process.
    pub usage: &'static Usage,
}

impl Place<'_> {
    /// Counts a descriptor that waits for a client; `None` where no more may.
    pub fn count_descriptor(&self) -> Option<CountedDescriptor> {
        self.usage.descriptors.add(self.descriptors)
    }
}

/// A file that bytes wait in.
#[derive(Debug)]
pub struct Spool {
    file: File,
    /// Where the next byte is written to and read from.
    written: u64,
    read: u64,
    most: u64,
    /// Claimed of the child's bound.
    claimed: u64,
    usage: &'static Usage,
    _counted: CountedDescriptor,
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.usage.bytes.fetch_sub(self.claimed, Ordering::Relaxed);
    }
}

impl Spool {
    /// A file in `place`; `None` where a bound allows no more.
    ///
    /// # Errors
    /// The directory is not there or not writable, or no descriptors are left.
    pub fn open(place: Place<'_>) -> io::Result<Option<Spool>> {
        // The signal of a write past the limit would end the child.
        let most = place.most.min(temporary::longest_file());
        if most < ROOM {
            return Ok(None);
        }
        let Some(counted) = place.count_descriptor() else {
            return Ok(None);
        };
        let file = temporary::file_in(place.directory)?;
        Ok(Some(Spool::over(file, counted, most, place.usage)))
    }

    fn over(file: File, counted: CountedDescriptor, most: u64, usage: &'static Usage) -> Spool {
        Spool {
            file,
            _counted: counted,
            written: 0,
            read: 0,
            most,
            claimed: 0,
            usage,
        }
    }

    /// Bytes that wait.
    pub fn len(&self) -> u64 {
        self.written - self.read
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the file takes more.
    pub fn has_room(&self) -> bool {
        self.len() + ROOM <= self.most
    }

    /// Where in the file byte `at` of all that were written is, and how many of `len` fit there. At
    /// its end the file begins anew in the room of what was read: were it read to its end first, the
    /// worker would wait for all of that time.
    fn place_of(&self, at: u64, len: usize) -> (u64, usize) {
        let place = at % self.most.max(1);
        (place, (self.most - place).min(len as u64) as usize)
    }

    /// Puts `bytes` behind what waits, all or nothing. False where a bound allows no more.
    ///
    /// # Errors
    /// The file system is full, nearly so, or broken.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let end = self.written + bytes.len() as u64;
        if end - self.read > self.most {
            return Ok(false);
        }
        while end.min(self.most) > self.claimed {
            // Nothing was written beyond what is claimed, so the file can stay as long as it is.
            let bound = std::mem::replace(&mut self.most, self.claimed);
            if !self.usage.claim_grain() {
                return Ok(false);
            }
            self.claimed += GRAIN;
            self.leave_space()?;
            self.most = bound;
        }
        let (place, fits) = self.place_of(self.written, bytes.len());
        self.file.write_all_at(&bytes[..fits], place)?;
        self.file.write_all_at(&bytes[fits..], 0)?;
        self.written = end;
        Ok(true)
    }

    /// Others need the file system, too.
    fn leave_space(&self) -> io::Result<()> {
        let space = temporary::space(self.file.as_fd())?;
        if space.free < (space.all / LEFT_FREE).saturating_add(GRAIN) {
            let full = "less than a twentieth of the file system is free";
            return Err(io::Error::new(io::ErrorKind::StorageFull, full));
        }
        Ok(())
    }

    /// Takes the oldest bytes, `most` at most, and appends them to `into`.
    ///
    /// # Errors
    /// They can't be read back.
    pub fn take(&mut self, most: usize, into: &mut Vec<u8>) -> io::Result<usize> {
        let len = self.len().min(most as u64) as usize;
        let before = into.len();
        into.resize(before + len, 0);
        let (place, fits) = self.place_of(self.read, len);
        let (first, rest) = into[before..].split_at_mut(fits);
        let read = self.file.read_exact_at(first, place);
        if let Err(error) = read.and_then(|()| self.file.read_exact_at(rest, 0)) {
            into.truncate(before);
            return Err(error);
        }
        self.read += len as u64;
        Ok(len)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A place of the test's own, for files of `most` bytes.
    pub fn place(most: u64) -> Place<'static> {
        Place {
            directory: Path::new("/tmp"),
            most,
            descriptors: 2,
            usage: Box::leak(Box::default()),
        }
    }

    /// Descriptors and bytes of `place`.
    pub fn in_use(place: Place<'_>) -> (usize, u64) {
        let Usage { descriptors, bytes } = place.usage;
        (descriptors.get(), bytes.load(Ordering::Relaxed))
    }

    #[test]
    fn bytes_come_out_as_they_went_in_and_in_any_size() {
        let place = place(1 << 30);
        let mut spool = Spool::open(place).unwrap().unwrap();
        let (mut next, mut expected) = (0, 0);
        for round in 0..200_usize {
            let bytes: Vec<u8> = (0..round * 37).map(|n| (next + n) as u8).collect();
            next += bytes.len();
            assert!(spool.push(&bytes).unwrap());
            let mut out = Vec::new();
            let len = spool.take(round * 31, &mut out).unwrap();
            assert_eq!(len, out.len());
            for byte in out {
                assert_eq!(byte, expected as u8);
                expected += 1;
            }
        }
        assert_eq!(spool.len(), (next - expected) as u64);
        assert_eq!(in_use(place), (1, GRAIN));
        drop(spool);
        assert_eq!(in_use(place), (0, 0));
    }

    #[test]
    fn a_full_file_takes_more_as_soon_as_some_was_read() {
        let place = place((1 << 20) + 77);
        let mut spool = Spool::open(place).unwrap().unwrap();
        let (mut next, mut expected) = (0_u64, 0_u64);
        for _ in 0..100 {
            while spool.has_room() {
                let bytes: Vec<u8> = (next..next + 30_011).map(|n| (n % 251) as u8).collect();
                assert!(spool.push(&bytes).unwrap());
                next += 30_011;
            }
            let mut out = Vec::new();
            spool.take(100_003, &mut out).unwrap();
            for byte in out {
                assert_eq!(byte, (expected % 251) as u8);
                expected += 1;
            }
        }
        assert!(spool.file.metadata().unwrap().len() <= (1 << 20) + 77);
        assert!(expected > 9 << 20);
    }

    #[test]
    fn a_file_that_may_not_grow_takes_more_as_soon_as_some_was_read() {
        let place = place(64 << 20);
        let mut spool = Spool::open(place).unwrap().unwrap();
        let piece = vec![7; 100_000];
        while spool.len() < GRAIN - 200_000 {
            assert!(spool.push(&piece).unwrap());
        }
        // Others have the rest of what the process may keep.
        let others = std::iter::from_fn(|| place.usage.claim_grain().then_some(())).count() as u64;
        while spool.push(&piece).unwrap() {}
        assert!(!spool.has_room());
        for _ in 0..30 {
            let mut out = Vec::new();
            assert_eq!(spool.take(300_000, &mut out).unwrap(), 300_000);
            assert_eq!(out, [&piece[..]; 3].concat());
            for _ in 0..3 {
                assert!(spool.push(&piece).unwrap());
            }
        }
        assert!(spool.file.metadata().unwrap().len() <= GRAIN);
        place
            .usage
            .bytes
            .fetch_sub(others * GRAIN, Ordering::Relaxed);
    }

    #[test]
    fn files_and_their_sizes_have_bounds() {
        let place = place(2 << 20);
        let [mut one, two] = [(); 2].map(|()| Spool::open(place).unwrap().unwrap());
        assert!(Spool::open(place).unwrap().is_none());
        drop(two);
        assert!(Spool::open(place).unwrap().is_some());
        let block = vec![b'x'; 64 << 10];
        while one.has_room() {
            assert!(one.push(&block).unwrap());
        }
        assert!(one.written > (2 << 20) - ROOM && one.written <= 2 << 20);
        assert!(!one.push(&vec![b'x'; 2 << 20]).unwrap());
        assert_eq!(in_use(place), (1, 2 << 20));
        let none = Place { most: 0, ..place };
        assert!(Spool::open(none).unwrap().is_none());
    }

    #[test]
    fn all_files_together_have_a_bound() {
        let place = place(1 << 30);
        let mut spool = Spool::open(place).unwrap().unwrap();
        place
            .usage
            .bytes
            .store(MOST_BYTES - GRAIN, Ordering::Relaxed);
        assert!(spool.push(b"fits").unwrap());
        assert!(!spool.push(&vec![b'x'; GRAIN as usize]).unwrap());
        assert_eq!(spool.len(), 4);
    }

    #[test]
    fn a_directory_that_is_not_there_and_a_full_disk_are_errors_and_claim_nothing() {
        let place = place(1 << 30);
        let nowhere = Place {
            directory: Path::new("/no/such/directory"),
            ..place
        };
        let error = Spool::open(nowhere).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(in_use(place), (0, 0));
        let full = File::options().read(true).write(true).open("/dev/full");
        let counted = place.count_descriptor().unwrap();
        let mut spool = Spool::over(full.unwrap(), counted, 1 << 30, place.usage);
        let error = spool.push(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(spool.is_empty());
    }
}
