//! Buffers the part of a response that its client has not accepted yet.
//!
//! Runs in: an Apache child. A worker's thread is free as soon as the child has received its
//! response, so a slow client costs memory here and no thread in the worker. Data beyond the memory
//! bound goes to a temporary file. Both have bounds: while both are full, nothing is received from
//! the worker.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::time::Duration;

use super::frame_reader::BLOCK;
use super::response_body::PassedFile;
use super::spool::{Place, Spool};

/// Bytes that are read back from the file at once, where memory has room for so many.
const READ_BACK: usize = 4 * BLOCK;

/// Pieces that leave together: as many as httpd writes at once, less what it puts around them.
const PIECES: usize = 12;

/// A stretch of a file that waits.
#[derive(Debug)]
pub struct Stretch {
    /// The file.
    pub file: PassedFile,
    /// From here.
    pub offset: u64,
    /// So many bytes.
    pub len: u64,
}

#[derive(Debug)]
enum Portion {
    /// Bytes, from this one on.
    Bytes(Vec<u8>, usize),
    File(Stretch),
    /// So many bytes in the temporary file: the oldest of them that no portion before this has.
    Spooled(u64),
}

/// Portions of a response, the oldest first.
#[derive(Debug)]
pub struct ResponseBuffer<'o> {
    portions: VecDeque<Portion>,
    bytes: usize,
    /// Bytes that may wait in memory.
    most: usize,
    /// Where the others may wait.
    place: Place<'o>,
    spool: Option<Spool>,
    /// The file takes nothing more until memory has room again.
    is_refused: bool,
    /// How long the worker may still be held up before anything goes to the file.
    patience: Duration,
}

impl<'o> ResponseBuffer<'o> {
    /// Nothing, of which `most` bytes may wait in memory and the others in a file in `place`, once
    /// the worker has been held up for so long as `after` says.
    pub fn new(most: usize, place: Place<'o>, after: Duration) -> ResponseBuffer<'o> {
        ResponseBuffer {
            portions: VecDeque::new(),
            bytes: 0,
            most,
            place,
            spool: None,
            is_refused: false,
            patience: after,
        }
    }

    /// Whether as much waits as may: nothing is to be taken from the worker then.
    pub fn is_full(&self) -> bool {
        // A response of just this size is taken with its end.
        self.bytes > self.most && !self.spools()
    }

    /// The worker has been held up for so long, because this was full.
    pub fn note_held_up(&mut self, time: Duration) {
        self.patience = self.patience.saturating_sub(time);
    }

    /// How long the worker is still to be held up until what it sends goes to a file; `None` where
    /// it does not.
    pub fn time_to_spool(&self) -> Option<Duration> {
        let has_place = self.place.most > 0 && !self.is_refused && self.has_room();
        has_place.then_some(self.patience)
    }

    fn has_room(&self) -> bool {
        self.spool.as_ref().is_none_or(Spool::has_room)
    }

    /// Whether what memory has no room for goes to the file.
    fn spools(&self) -> bool {
        self.time_to_spool() == Some(Duration::ZERO)
    }

    /// Memory has room again: the file is tried again the next time.
    pub fn retry_spool(&mut self) {
        self.is_refused = false;
    }

    /// Puts bytes behind what waits into the file, where memory has no room for them. False where
    /// they are to go into memory.
    ///
    /// # Errors
    /// The file cannot be written. What waits is whole, and the bytes can go into memory.
    pub fn spool(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let fits = self.spool.is_none() && self.bytes + bytes.len() <= self.most;
        if fits || bytes.is_empty() || !self.spools() {
            return Ok(false);
        }
        let done = self.push_to_file(bytes);
        self.is_refused = !matches!(done, Ok(true));
        if self.spool.as_ref().is_some_and(Spool::is_empty) {
            self.spool = None;
        }
        done
    }

    fn push_to_file(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if self.spool.is_none() {
            self.spool = Spool::open(self.place)?;
        }
        let Some(spool) = &mut self.spool else {
            return Ok(false);
        };
        if !spool.push(bytes)? {
            return Ok(false);
        }
        let len = bytes.len() as u64;
        match self.portions.back_mut() {
            Some(Portion::Spooled(last)) => *last += len,
            _ => self.portions.push_back(Portion::Spooled(len)),
        }
        Ok(true)
    }

    /// Reads back what comes first, where that is in the file. When all has been read back the file
    /// is gone.
    ///
    /// # Errors
    /// It can't be read back: the response can't be completed.
    pub fn read_back(&mut self) -> io::Result<()> {
        let (Some(Portion::Spooled(len)), Some(spool)) =
            (self.portions.front_mut(), &mut self.spool)
        else {
            return Ok(());
        };
        let room = self.most.saturating_sub(self.bytes).clamp(BLOCK, READ_BACK);
        let mut left = u64::min(*len, room as u64) as usize;
        *len -= left as u64;
        let mut blocks = Vec::new();
        while left > 0 {
            let mut block = Vec::with_capacity(left.min(BLOCK));
            let got = spool.take(left.min(BLOCK), &mut block)?;
            left -= got;
            self.bytes += got;
            blocks.push(block);
        }
        if *len == 0 {
            self.portions.pop_front();
        }
        for block in blocks.into_iter().rev() {
            self.portions.push_front(Portion::Bytes(block, 0));
        }
        if spool.is_empty() {
            self.spool = None;
        }
        Ok(())
    }

    /// Bytes that wait, in memory or in the temporary file; those of other files do not count.
    pub fn waiting(&self) -> u64 {
        self.bytes as u64 + self.spool.as_ref().map_or(0, Spool::len)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.portions.is_empty()
    }

    /// Whether a single portion waits.
    pub fn is_last(&self) -> bool {
        self.portions.len() == 1
    }

    /// Bytes that wait in memory; those of files do not count.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Puts bytes behind what waits.
    pub fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.bytes += bytes.len();
        match self.portions.back_mut() {
            // Small pieces share a block: one each would cost more than they hold.
            Some(Portion::Bytes(last, _)) if last.len() + bytes.len() <= BLOCK => {
                last.extend_from_slice(bytes);
            }
            _ => self.portions.push_back(Portion::Bytes(bytes.to_vec(), 0)),
        }
    }

    /// Puts `range` of a block behind what waits. Gives the block back where the bytes were copied:
    /// one that is mostly empty would hold more memory than is counted.
    pub fn push_block(&mut self, mut block: Vec<u8>, range: Range<usize>) -> Option<Vec<u8>> {
        if range.len() < BLOCK / 2 {
            self.push(&block[range]);
            return Some(block);
        }
        self.bytes += range.len();
        block.truncate(range.end);
        self.portions.push_back(Portion::Bytes(block, range.start));
        None
    }

    /// Puts a stretch of a file behind what waits.
    pub fn push_file(&mut self, stretch: Stretch) {
        self.portions.push_back(Portion::File(stretch));
    }

    /// The oldest bytes that wait, `most` of them at most and in a few pieces; none where a stretch
    /// of a file comes first, or what is to be read back.
    pub fn front(&self, most: usize) -> Vec<&[u8]> {
        let mut left = most;
        let mut pieces = Vec::new();
        for portion in self.portions.iter().take(PIECES) {
            let Portion::Bytes(bytes, from) = portion else {
                break;
            };
            let piece = &bytes[*from..];
            let piece = &piece[..piece.len().min(left)];
            if piece.is_empty() {
                break;
            }
            left -= piece.len();
            pieces.push(piece);
        }
        pieces
    }

    /// Whether a stretch of a file comes first.
    pub fn file_is_first(&self) -> bool {
        matches!(self.portions.front(), Some(Portion::File(_)))
    }

    /// Forgets the oldest `len` bytes, and hands over the memory of those that are through.
    pub fn advance(&mut self, mut len: usize, mut memory: impl FnMut(Vec<u8>)) {
        while let Some(Portion::Bytes(bytes, from)) = self.portions.front_mut() {
            let taken = len.min(bytes.len() - *from);
            *from += taken;
            self.bytes -= taken;
            len -= taken;
            if *from < bytes.len() {
                return;
            }
            if let Some(Portion::Bytes(bytes, _)) = self.portions.pop_front() {
                memory(bytes);
            }
        }
    }

    /// Takes the stretch at the front.
    pub fn take_file(&mut self) -> Option<Stretch> {
        match self.portions.pop_front()? {
            Portion::File(stretch) => Some(stretch),
            other => {
                self.portions.push_front(other);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::response_body::tests::passed_file;
    use super::super::spool::tests::place;
    use super::*;

    const SPOOL_AFTER: Duration = Duration::from_millis(100);

    fn buffer() -> ResponseBuffer<'static> {
        ResponseBuffer::new(1 << 20, place(0), SPOOL_AFTER)
    }

    #[test]
    fn what_waits_comes_out_in_its_order_and_in_any_size() {
        let mut buffered = buffer();
        assert!(buffered.is_empty() && buffered.front(1).is_empty());
        buffered.push(b"");
        assert!(buffered.is_empty());
        buffered.push(b"one ");
        buffered.push(&[b'x'; BLOCK]);
        buffered.push_file(Stretch {
            file: passed_file(b"file"),
            offset: 1,
            len: 2,
        });
        buffered.push(b"two");
        assert_eq!(buffered.len(), 4 + BLOCK + 3);
        let mut out = Vec::new();
        while !buffered.is_empty() {
            if buffered.file_is_first() {
                assert!(buffered.front(1).is_empty());
                buffered.advance(1, |_| unreachable!());
                assert_eq!(buffered.take_file().map(|file| file.len), Some(2));
                out.extend_from_slice(b"file ");
            } else {
                let piece = buffered.front(1000).concat();
                assert!(buffered.take_file().is_none());
                buffered.advance(piece.len(), |_| ());
                out.extend(piece);
            }
        }
        let all = [&b"one "[..], &[b'x'; BLOCK], b"file two"].concat();
        assert_eq!((out == all, buffered.len()), (true, 0));
    }

    #[test]
    fn a_full_block_is_kept_and_comes_back_and_a_mostly_empty_one_is_copied() {
        let mut buffered = buffer();
        let block = vec![b'x'; BLOCK + 16];
        let start = block.as_ptr();
        assert_eq!(buffered.push_block(block, 8..BLOCK + 8), None);
        let back = buffered.push_block(vec![b'y'; BLOCK + 16], 8..18);
        assert_eq!(back.map(|block| block.len()), Some(BLOCK + 16));
        assert_eq!(buffered.len(), BLOCK + 10);
        let all = buffered.front(usize::MAX).concat();
        assert_eq!(all, [&[b'x'; BLOCK][..], &[b'y'; 10]].concat());
        let mut memory = Vec::new();
        buffered.advance(BLOCK, |block| memory.push(block.as_ptr()));
        assert_eq!((memory, buffered.len()), (vec![start], 10));
    }

    #[test]
    fn small_pieces_cost_what_they_hold() {
        let mut buffered = buffer();
        for _ in 0..3 * BLOCK {
            buffered.push(b"x");
        }
        assert_eq!((buffered.len(), buffered.portions.len()), (3 * BLOCK, 3));
    }

    #[test]
    fn what_memory_has_no_room_for_goes_to_a_file_and_comes_back_in_order() {
        let place = place(1 << 30);
        let mut buffered = ResponseBuffer::new(100_000, place, SPOOL_AFTER);
        buffered.push(&[1; 100_001]);
        assert!(buffered.is_full());
        assert!(!buffered.spool(b"too early").unwrap());
        buffered.note_held_up(SPOOL_AFTER / 2);
        assert_eq!(buffered.time_to_spool(), Some(SPOOL_AFTER / 2));
        buffered.note_held_up(SPOOL_AFTER / 2);
        assert!(!buffered.is_full());
        let mut expected = vec![1; 100_001];
        for round in 0..100 {
            let bytes = [round; 10_007];
            assert!(buffered.spool(&bytes).unwrap());
            expected.extend_from_slice(&bytes);
            if round == 50 {
                buffered.push_file(Stretch {
                    file: passed_file(b"file"),
                    offset: 0,
                    len: 4,
                });
                expected.extend_from_slice(b"file");
            }
        }
        assert_eq!(buffered.waiting(), expected.len() as u64 - 4);
        assert_eq!(buffered.len(), 100_001);
        let mut out = Vec::new();
        let mut most = 0;
        while !buffered.is_empty() {
            buffered.read_back().unwrap();
            most = most.max(buffered.len());
            if buffered.take_file().is_some() {
                out.extend_from_slice(b"file");
                continue;
            }
            let piece = buffered.front(9_999).concat();
            buffered.advance(piece.len(), |_| ());
            out.extend(piece);
        }
        assert!(out == expected && buffered.waiting() == 0);
        assert!(most <= 100_001 && buffered.spool.is_none());
        // Memory takes the next.
        assert!(!buffered.spool(b"fits").unwrap());
    }

    #[test]
    fn a_file_that_is_full_or_cannot_be_written_has_the_worker_wait() {
        let block = [b'x'; BLOCK];
        let nowhere = Place {
            directory: std::path::Path::new("/no/such"),
            ..place(1 << 30)
        };
        let none_left = Place {
            descriptors: 0,
            ..place(1 << 30)
        };
        for (place, fails) in [(place(1 << 20), false), (none_left, false), (nowhere, true)] {
            let mut buffered = ResponseBuffer::new(BLOCK, place, Duration::ZERO);
            buffered.push(&[b'x'; BLOCK + 1]);
            let mut sizes = 0;
            while !buffered.is_full() {
                match buffered.spool(&block) {
                    Ok(true) => sizes += BLOCK,
                    Ok(false) => assert!(!fails),
                    Err(_) => assert!(fails),
                }
            }
            assert!(sizes <= 1 << 20 && buffered.waiting() == (BLOCK + 1 + sizes) as u64);
            assert_eq!(
                (sizes > 0, buffered.spool.is_some()),
                (place.descriptors > 0 && !fails, sizes > 0)
            );
        }
    }
}
