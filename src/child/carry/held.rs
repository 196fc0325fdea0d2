//! What of a response waits here because its client does not take it yet.
//!
//! Runs in: an Apache child. A worker's thread is free as soon as its response has been taken from
//! it, so a client that reads slowly costs memory here and no thread there. How much, the caller
//! bounds: nothing is received from the worker while this is full.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// Bytes gathered in one piece of memory.
const BLOCK: usize = 64 << 10;

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
    Bytes(Vec<u8>),
    File(Stretch),
}

/// The oldest of what waits.
#[derive(Debug, PartialEq, Eq)]
pub enum Front<'a> {
    /// Bytes, never none.
    Bytes(&'a [u8]),
    /// A stretch of a file.
    File,
}

/// Portions of a response, the oldest first.
#[derive(Debug, Default)]
pub struct Held {
    portions: VecDeque<Portion>,
    /// Bytes of the first portion that have been taken.
    taken: usize,
    bytes: usize,
}

impl Held {
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
            Some(Portion::Bytes(last)) if last.len() + bytes.len() <= BLOCK => {
                last.extend_from_slice(bytes);
            }
            _ => self.portions.push_back(Portion::Bytes(bytes.to_vec())),
        }
    }

    /// Puts a stretch of a file behind what waits.
    pub fn push_file(&mut self, stretch: Stretch) {
        self.portions.push_back(Portion::File(stretch));
    }

    /// The oldest of what waits.
    pub fn front(&self) -> Option<Front<'_>> {
        match self.portions.front()? {
            Portion::Bytes(bytes) => Some(Front::Bytes(&bytes[self.taken..])),
            Portion::File(_) => Some(Front::File),
        }
    }

    /// Forgets the first `len` bytes of [`Front::Bytes`].
    pub fn advance(&mut self, len: usize) {
        let Some(Portion::Bytes(bytes)) = self.portions.front() else {
            return;
        };
        let len = len.min(bytes.len() - self.taken);
        self.taken += len;
        self.bytes -= len;
        if self.taken == bytes.len() {
            self.portions.pop_front();
            self.taken = 0;
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
        let mut held = Held::default();
        assert!(held.is_empty() && held.front().is_none());
        held.push(b"");
        assert!(held.is_empty());
        held.push(b"one ");
        held.push(&[b'x'; BLOCK]);
        held.push_file(Stretch {
            file: std::fs::File::open("/dev/null").unwrap().into(),
            offset: 1,
            len: 2,
        });
        held.push(b"two");
        assert_eq!(held.len(), 4 + BLOCK + 3);
        let mut out = Vec::new();
        while let Some(front) = held.front() {
            match front {
                Front::Bytes(bytes) => {
                    let len = bytes.len().min(1000);
                    out.extend_from_slice(&bytes[..len]);
                    assert!(held.take_file().is_none());
                    held.advance(len);
                }
                Front::File => {
                    held.advance(1);
                    assert_eq!(held.take_file().map(|file| file.len), Some(2));
                    out.extend_from_slice(b"file ");
                }
            }
        }
        let all = [&b"one "[..], &[b'x'; BLOCK], b"file two"].concat();
        assert_eq!((out == all, held.len()), (true, 0));
    }

    #[test]
    fn small_pieces_cost_what_they_hold() {
        let mut held = Held::default();
        for _ in 0..3 * BLOCK {
            held.push(b"x");
        }
        assert_eq!((held.len(), held.portions.len()), (3 * BLOCK, 3));
    }
}
