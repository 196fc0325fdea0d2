//! What of a response waits here because its client does not take it yet.
//!
//! Runs in: an Apache child. A worker's thread is free as soon as its response has been taken from
//! it, so a client that reads slowly costs memory here and no thread there. How much, the caller
//! bounds: nothing is received from the worker while this is full.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::OwnedFd;

use super::frame_reader::BLOCK;

/// Pieces that leave together: as many as httpd writes at once, less what it puts around them.
const PIECES: usize = 12;

/// A stretch of a file that waits.
#[derive(Debug)]
pub struct Stretch {
    /// A regular file.
    pub file: OwnedFd,
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
}

/// Portions of a response, the oldest first.
#[derive(Debug, Default)]
pub struct ResponseBuffer {
    portions: VecDeque<Portion>,
    bytes: usize,
}

impl ResponseBuffer {
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
    /// of a file comes first.
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
            bytes => {
                self.portions.push_front(bytes);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_comes_out_in_its_order_and_in_any_size() {
        let mut buffered = ResponseBuffer::default();
        assert!(buffered.is_empty() && buffered.front(1).is_empty());
        buffered.push(b"");
        assert!(buffered.is_empty());
        buffered.push(b"one ");
        buffered.push(&[b'x'; BLOCK]);
        buffered.push_file(Stretch {
            file: std::fs::File::open("/dev/null").unwrap().into(),
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
        let mut buffered = ResponseBuffer::default();
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
        let mut buffered = ResponseBuffer::default();
        for _ in 0..3 * BLOCK {
            buffered.push(b"x");
        }
        assert_eq!((buffered.len(), buffered.portions.len()), (3 * BLOCK, 3));
    }
}
