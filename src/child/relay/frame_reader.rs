//! Splits the bytes from a worker into frames.
//!
//! Runs in: an Apache child. Holds one buffer per request. The buffer grows to the announced size
//! of its first frame, which is bounded by the frame's kind. `Data` frames are never assembled:
//! their bytes are passed on in the pieces in which they arrive. If a receive can bring only bytes
//! of the body, they go into a separate block, which a caller that must buffer them takes without a
//! copy.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

use wire::frame::{self, Kind, HEAD_LEN};
use wire::response::End;
use wire::Malformed;

use super::failure::ProtocolViolation;
use super::worker::{Received, WorkerConnection};

/// First size of the buffer: a small response with its head, in one receive.
const FIRST: usize = 8 << 10;
/// Size once a response has filled the first: fewer, larger receives for large bodies.
const STREAM: usize = 64 << 10;
/// Bytes of the body in one block.
pub const BLOCK: usize = 64 << 10;
/// A `Data` frame of which at least so much is missing is received into a block.
const LARGE: usize = 16 << 10;
/// Descriptors that may be here before the frames they belong to: of a frame that is cut, and of the
/// one behind it.
const MOST_EARLY: usize = 2;
/// Blocks whose memory is kept for the next ones.
const MOST_SPARE: usize = 8;

/// The next thing in the stream. It holds until the next [`FrameReader::fill`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A whole frame of any kind but `Data`.
    Frame(Kind, Range<usize>),
    /// Some bytes of a `Data` frame, never none.
    Data(Part),
}

/// Where bytes of the body are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Among the frames.
    Among(Range<usize>),
    /// In the block.
    Block(Range<usize>),
}

impl Part {
    /// How many they are.
    pub fn len(&self) -> usize {
        self.range().len()
    }

    /// Whether they are none.
    pub fn is_empty(&self) -> bool {
        self.range().is_empty()
    }

    /// Drops all but the first `len` of them.
    pub fn truncate(&mut self, len: usize) {
        let (Part::Among(range) | Part::Block(range)) = self;
        range.end = range.end.min(range.start + len);
    }

    fn range(&self) -> Range<usize> {
        let (Part::Among(range) | Part::Block(range)) = self;
        range.clone()
    }
}

/// What a receive did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// Bytes came; `dry` when they were fewer than there was room for, so that more are not likely
    /// to be here already.
    Some { dry: bool },
    /// Nothing is here.
    Nothing,
    /// The worker has closed its end.
    End,
}

/// The incoming side of a conversation.
#[derive(Debug)]
pub struct FrameReader {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the current `Data` frame that are still to come out.
    data_left: usize,
    /// Size of the frame at `start`, head included, as far as it is known.
    need: usize,
    /// Bytes of the body that came alone.
    block: Vec<u8>,
    /// Those of them that have yet to come out.
    fresh: Range<usize>,
    /// Size of the last `Data` frame.
    last_data: usize,
    /// Memory of former blocks.
    spare: Vec<Vec<u8>>,
    /// Descriptors whose frames have not come out yet.
    early: VecDeque<Early>,
    /// The descriptor of the frame that came out last.
    file: Option<OwnedFd>,
    /// Bytes received in all.
    received: u64,
}

/// A descriptor that came before its frame was complete.
#[derive(Debug)]
struct Early {
    descriptor: OwnedFd,
    /// Its frame begins before this place in the stream: it came with the bytes up to here.
    before: u64,
}

impl Default for FrameReader {
    fn default() -> FrameReader {
        FrameReader {
            buf: vec![0; FIRST],
            start: 0,
            end: 0,
            data_left: 0,
            need: HEAD_LEN,
            block: Vec::new(),
            fresh: 0..0,
            last_data: 0,
            spare: Vec::new(),
            early: VecDeque::new(),
            file: None,
            received: 0,
        }
    }
}

impl FrameReader {
    /// Whether a single byte has come.
    pub fn have_begun(&self) -> bool {
        self.received > 0
    }

    /// Whether the stream may end here as far as frames go.
    pub fn is_between_frames(&self) -> bool {
        self.start == self.end && self.data_left == 0 && self.fresh.is_empty()
    }

    /// Whether nothing is here that has not come out.
    pub fn are_over(&self) -> bool {
        self.is_between_frames() && self.early.is_empty()
    }

    /// Whether the next frame is likely to be one of body that fills a block.
    fn streams(&self) -> bool {
        self.data_left == 0 && self.last_data >= LARGE
    }

    /// Overwrites what it has received, which may be secret.
    pub fn wipe(&mut self) {
        os::memory::wipe(&mut self.buf);
        os::memory::wipe(&mut self.block);
    }

    /// The bytes of a frame.
    pub fn bytes(&self, range: &Range<usize>) -> &[u8] {
        &self.buf[range.clone()]
    }

    /// Bytes of the body.
    pub fn body(&self, part: &Part) -> &[u8] {
        match part {
            Part::Among(range) => &self.buf[range.clone()],
            Part::Block(range) => &self.block[range.clone()],
        }
    }

    /// Takes the block, for as long as it has to be kept.
    pub fn take_block(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.block)
    }

    /// Takes back the memory of a block.
    pub fn recycle(&mut self, block: Vec<u8>) {
        if self.spare.len() < MOST_SPARE {
            self.spare.push(block);
        }
    }

    /// Takes the next piece; `None` until more has been received.
    ///
    /// # Errors
    /// It is nothing a worker may send, or came with a descriptor that belongs to no file.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, ProtocolViolation> {
        let piece = self.piece();
        if piece.is_err() {
            self.early.clear();
        }
        piece
    }

    fn piece(&mut self) -> Result<Option<Piece>, ProtocolViolation> {
        self.file = None;
        self.check_descriptors(self.next_frame())?;
        if !self.fresh.is_empty() {
            let fresh = std::mem::take(&mut self.fresh);
            return Ok(Some(Piece::Data(Part::Block(fresh))));
        }
        loop {
            let here = self.end - self.start;
            if self.data_left > 0 {
                let len = here.min(self.data_left);
                if len == 0 {
                    return Ok(None);
                }
                let range = self.start..self.start + len;
                self.start += len;
                self.data_left -= len;
                return Ok(Some(Piece::Data(Part::Among(range))));
            }
            self.need = HEAD_LEN;
            let Some((kind, len)) = self.peek_head()? else {
                return Ok(None);
            };
            let at = self.next_frame();
            let behind = at + (HEAD_LEN + len) as u64;
            match kind {
                Kind::File | Kind::Head => {}
                Kind::End | Kind::Fail | Kind::Retry => self.check_descriptors(u64::MAX)?,
                _ => self.check_descriptors(behind)?,
            }
            if kind == Kind::Data {
                self.start += HEAD_LEN;
                (self.data_left, self.last_data) = (len, len);
                continue;
            }
            self.need = HEAD_LEN + len;
            if here < self.need {
                return Ok(None);
            }
            let range = self.start + HEAD_LEN..self.start + self.need;
            self.start = range.end;
            match (kind, self.early.front_mut()) {
                (Kind::File, Some(_)) => {
                    self.file = self.early.pop_front().map(|early| early.descriptor);
                }
                // The frame behind it may be the file.
                (Kind::Head, Some(early)) => early.before = early.before.max(behind + 1),
                _ => {}
            }
            return Ok(Some(Piece::Frame(kind, range)));
        }
    }

    /// Where in the stream the next frame begins.
    fn next_frame(&self) -> u64 {
        self.received - (self.end - self.start) as u64 + self.data_left as u64
    }

    /// Whether the descriptors that are here may belong to a file at `place` or behind it. A
    /// descriptor travels with the first byte of its frame, or of the head directly before that.
    fn check_descriptors(&self, place: u64) -> Result<(), ProtocolViolation> {
        match self.early.front() {
            Some(early) if self.early.len() > MOST_EARLY || early.before <= place => Err(
                ProtocolViolation::OutOfOrder("it passed a descriptor that belongs to no file"),
            ),
            _ => Ok(()),
        }
    }

    /// Whether more bytes of the body are here already.
    pub fn data_follows(&self) -> bool {
        self.data_left == 0
            && self.end - self.start > HEAD_LEN
            && matches!(self.peek_head(), Ok(Some((Kind::Data, 1..))))
    }

    /// The `End` frame, if it is what follows and is here already.
    pub fn end_follows(&self) -> Option<End> {
        if self.data_left > 0 || !self.early.is_empty() {
            return None;
        }
        match frame::split(&self.buf[self.start..self.end]) {
            Ok(Some((frame, payload, _))) if frame.kind == Kind::End => End::decode(payload).ok(),
            _ => None,
        }
    }

    /// The head at the front. Kinds no worker sends are refused here, before their announced length
    /// has made the buffer grow.
    fn peek_head(&self) -> Result<Option<(Kind, usize)>, Malformed> {
        let here = &self.buf[self.start..self.end];
        let Some(head) = here.first_chunk::<HEAD_LEN>() else {
            return Ok(None);
        };
        let frame = frame::parse(head)?;
        match frame.kind {
            Kind::Pull
            | Kind::Interim
            | Kind::Head
            | Kind::Data
            | Kind::File
            | Kind::Log
            | Kind::Retry
            | Kind::Fail
            | Kind::End
            | Kind::Answer => Ok(Some((frame.kind, frame.len))),
            other => Err(Malformed::Unknown(other as u8)),
        }
    }

    /// Receives once.
    pub fn fill(&mut self, worker: &mut impl WorkerConnection) -> io::Result<Filled> {
        if self.start == self.end && (self.data_left >= LARGE || self.streams()) {
            return self.fill_block(worker);
        }
        self.make_room();
        let room = self.buf.len() - self.end;
        let received = worker.receive(&mut self.buf[self.end..]);
        self.received(received, room, |frames, len| frames.end += len)
    }

    /// Receives into the block: what is missing of a frame, or the next one with its head. The head
    /// of the one behind it comes along, so that a stream of equal frames takes a receive each.
    fn fill_block(&mut self, worker: &mut impl WorkerConnection) -> io::Result<Filled> {
        let room = match self.data_left {
            0 => HEAD_LEN + BLOCK + HEAD_LEN,
            left if left <= BLOCK => left + HEAD_LEN,
            _ => BLOCK,
        };
        if self.block.capacity() == 0 {
            self.block = self.spare.pop().unwrap_or_default();
        }
        self.block.resize(HEAD_LEN + BLOCK + HEAD_LEN, 0);
        let received = worker.receive(&mut self.block[..room]);
        self.received(received, room, FrameReader::sort_block)
    }

    /// Finds the body's bytes among the first `len` of the block; the rest goes among the frames.
    fn sort_block(&mut self, len: usize) {
        let mut from = 0;
        if self.data_left == 0 {
            if let Some(head) = self.block[..len].first_chunk::<HEAD_LEN>() {
                if let Ok(frame) = frame::parse(head) {
                    if frame.kind == Kind::Data {
                        from = HEAD_LEN;
                        (self.data_left, self.last_data) = (frame.len, frame.len);
                    }
                }
            }
        }
        let to = len.min(from + self.data_left);
        self.data_left -= to - from;
        let rest = &self.block[to..len];
        if self.buf.len() < rest.len() {
            self.buf.resize(STREAM + 2 * HEAD_LEN, 0);
        }
        self.buf[..rest.len()].copy_from_slice(rest);
        (self.start, self.end) = (0, rest.len());
        self.fresh = from..to;
    }

    fn received(
        &mut self,
        received: io::Result<Received>,
        room: usize,
        take: impl FnOnce(&mut FrameReader, usize),
    ) -> io::Result<Filled> {
        let received = match received {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Filled::Nothing),
            Err(error) => return Err(error),
        };
        if received.len == 0 {
            return Ok(Filled::End);
        }
        self.received += received.len.min(room) as u64;
        if let Some(descriptor) = received.file {
            let before = self.received;
            self.early.push_back(Early { descriptor, before });
        }
        take(self, received.len.min(room));
        Ok(Filled::Some {
            dry: received.len < room,
        })
    }

    /// Takes the descriptor of the `File` frame that came out last.
    pub fn take_file(&mut self) -> Option<OwnedFd> {
        self.file.take()
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            let was_full = self.end == self.buf.len();
            (self.start, self.end) = (0, 0);
            if was_full && self.buf.len() < STREAM {
                self.buf.resize(STREAM, 0);
            }
            return;
        }
        if self.start > 0 {
            // At most one incomplete frame is left over.
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buf.len() {
            // Doubling, so that memory follows what has come and not what was announced.
            let size = (self.buf.len() * 2).min(self.need).max(self.buf.len() + 1);
            self.buf.resize(size, 0);
        }
    }
}

#[cfg(test)]
mod tests;
