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

use super::worker::{Received, WorkerConnection};

/// First size of the buffer: a small response with its head, in one receive.
const FIRST: usize = 8 << 10;
/// Size once a response has filled the first: fewer, larger receives for large bodies.
const STREAM: usize = 64 << 10;
/// Bytes of the body in one block.
pub const BLOCK: usize = 64 << 10;
/// What has to be missing of a `Data` frame for a block to be worth it.
const LARGE: usize = 16 << 10;
/// Descriptors that may be here before the frames they belong to.
const MOST_FILES: usize = 4;
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

    /// Lets go all but the first `len` of them.
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
    files: VecDeque<OwnedFd>,
    received: bool,
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
            files: VecDeque::new(),
            received: false,
        }
    }
}

impl FrameReader {
    /// Whether a single byte has come.
    pub fn have_begun(&self) -> bool {
        self.received
    }

    /// Whether the stream may end here as far as frames go.
    pub fn is_between_frames(&self) -> bool {
        self.start == self.end && self.data_left == 0 && self.fresh.is_empty()
    }

    /// Whether nothing is here that has not come out.
    pub fn are_over(&self) -> bool {
        self.is_between_frames() && self.files.is_empty()
    }

    /// Whether the next frame is likely to be one of body that fills a block.
    fn streams(&self) -> bool {
        self.data_left == 0 && self.last_data >= LARGE
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
    /// [`Malformed`] where it is nothing a worker may send.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, Malformed> {
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
            return Ok(Some(Piece::Frame(kind, range)));
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
        if self.data_left > 0 {
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
            | Kind::End => Ok(Some((frame.kind, frame.len))),
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
        if let Some(file) = received.file {
            // More than could be waiting for their frames belong to none: they are closed.
            if self.files.len() < MOST_FILES {
                self.files.push_back(file);
            }
        }
        if received.len == 0 {
            return Ok(Filled::End);
        }
        self.received = true;
        take(self, received.len.min(room));
        Ok(Filled::Some {
            dry: received.len < room,
        })
    }

    /// Takes the descriptor of a `File` frame: it came no later than the frame's first byte.
    pub fn take_file(&mut self) -> Option<OwnedFd> {
        self.files.pop_front()
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
mod tests {
    use super::*;
    use crate::child::relay::tests::Script;
    use wire::response::{append_head, Log};

    fn all(frames: &mut FrameReader) -> Vec<Piece> {
        std::iter::from_fn(|| frames.next_piece().unwrap()).collect()
    }

    fn response() -> Vec<u8> {
        let mut out = Vec::new();
        append_head(&mut out, Kind::Head, 200, b"OK", [].into_iter()).unwrap();
        frame::append::<Malformed>(&mut out, Kind::Data, |out| {
            out.extend_from_slice(b"hello");
            Ok(())
        })
        .unwrap();
        End::default().append(&mut out);
        out
    }

    #[test]
    fn frames_come_out_the_same_however_they_are_cut() {
        let bytes = response();
        for size in 1..=bytes.len() {
            let mut worker = Script::sending(&bytes).in_pieces_of(size);
            let mut frames = FrameReader::default();
            let mut body = Vec::new();
            let mut kinds = Vec::new();
            while frames.fill(&mut worker).unwrap() != Filled::End {
                for piece in all(&mut frames) {
                    match piece {
                        Piece::Data(part) => body.extend_from_slice(frames.body(&part)),
                        Piece::Frame(kind, _) => kinds.push(kind),
                    }
                }
            }
            assert_eq!(
                (&body[..], &kinds[..]),
                (&b"hello"[..], &[Kind::Head, Kind::End][..])
            );
            assert!(frames.is_between_frames());
        }
    }

    fn append_data(out: &mut Vec<u8>, body: &[u8]) {
        frame::append::<Malformed>(out, Kind::Data, |out| {
            out.extend_from_slice(body);
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn frames_of_every_size_come_out_the_same_however_they_are_cut() {
        let sizes = [
            LARGE - 1,
            LARGE,
            0,
            BLOCK,
            BLOCK,
            1,
            BLOCK + 1,
            3 * BLOCK + LARGE / 2,
            7,
            BLOCK - 1,
        ];
        let (mut bytes, mut body) = (Vec::new(), Vec::new());
        for (at, size) in sizes.into_iter().enumerate() {
            let data: Vec<u8> = (0..size).map(|i| (i % 251 + at) as u8).collect();
            append_data(&mut bytes, &data);
            body.extend(data);
            let text = &vec![b'l'; if at % 3 == 0 { 20_000 } else { 3 }];
            let level = wire::response::Level::Error;
            Log { level, text }.append(&mut bytes);
        }
        End::default().append(&mut bytes);
        for piece in [999, 8192, LARGE, BLOCK, BLOCK + 8, BLOCK + 16, 1 << 20] {
            let mut worker = Script::sending(&bytes).in_pieces_of(piece);
            let mut frames = FrameReader::default();
            let (mut got, mut kinds) = (Vec::new(), Vec::new());
            while frames.fill(&mut worker).unwrap() != Filled::End {
                for piece in all(&mut frames) {
                    match piece {
                        Piece::Data(part) => got.extend_from_slice(frames.body(&part)),
                        Piece::Frame(kind, _) => kinds.push(kind),
                    }
                }
            }
            assert!(got == body && frames.is_between_frames());
            assert_eq!(kinds.len(), sizes.len() + 1);
            assert_eq!(kinds.last(), Some(&Kind::End));
        }
    }

    #[test]
    fn a_stream_of_large_frames_takes_a_block_and_a_receive_each() {
        let mut bytes = Vec::new();
        for _ in 0..5 {
            append_data(&mut bytes, &[b'x'; BLOCK]);
        }
        let mut worker = Script::sending(&bytes);
        let mut frames = FrameReader::default();
        let mut receives = Vec::new();
        while frames.fill(&mut worker).unwrap() != Filled::End {
            receives.push(all(&mut frames));
        }
        // The first brings what fits beside a head, the second the rest of that frame.
        assert_eq!(receives.len(), 6);
        for pieces in &receives[2..] {
            let [Piece::Data(part @ Part::Block(_))] = &pieces[..] else {
                panic!("{pieces:?}");
            };
            assert_eq!(part.len(), BLOCK);
        }
    }

    #[test]
    fn a_block_that_was_taken_stays_as_it_is() {
        let mut bytes = Vec::new();
        for byte in [b'a', b'b', b'c', b'd'] {
            append_data(&mut bytes, &vec![byte; BLOCK]);
        }
        let mut worker = Script::sending(&bytes);
        let mut frames = FrameReader::default();
        let mut kept = Vec::new();
        while frames.fill(&mut worker).unwrap() != Filled::End {
            for piece in all(&mut frames) {
                if let Piece::Data(Part::Block(range)) = piece {
                    kept.push((frames.take_block(), range));
                }
            }
        }
        let firsts: Vec<u8> = kept
            .iter()
            .map(|(block, range)| block[range.start])
            .collect();
        assert_eq!(firsts, b"abcd");
        frames.recycle(kept.remove(0).0);
    }

    #[test]
    fn the_end_is_seen_before_the_last_data_is_given_away() {
        let mut frames = FrameReader::default();
        frames.fill(&mut Script::sending(&response())).unwrap();
        assert!(matches!(
            frames.next_piece(),
            Ok(Some(Piece::Frame(Kind::Head, _)))
        ));
        assert_eq!(frames.end_follows(), None);
        assert!(matches!(frames.next_piece(), Ok(Some(Piece::Data(_)))));
        assert_eq!(frames.end_follows(), Some(End::default()));
    }

    #[test]
    fn an_announced_length_reserves_nothing() {
        let head = frame::head(Kind::Head, Kind::Head.max_len()).unwrap();
        let mut frames = FrameReader::default();
        frames.fill(&mut Script::sending(&head)).unwrap();
        assert_eq!(frames.next_piece(), Ok(None));
        assert_eq!(frames.buf.len(), FIRST);
    }

    #[test]
    fn a_long_frame_is_gathered_and_the_buffer_stays_near_its_size() {
        let mut bytes = Vec::new();
        let text = vec![b'x'; 60_000];
        Log {
            level: wire::response::Level::Error,
            text: &text,
        }
        .append(&mut bytes);
        let mut worker = Script::sending(&bytes).in_pieces_of(777);
        let mut frames = FrameReader::default();
        loop {
            frames.fill(&mut worker).unwrap();
            if let Some(Piece::Frame(Kind::Log, range)) = frames.next_piece().unwrap() {
                assert_eq!(range.len(), 60_001);
                break;
            }
        }
        assert!(frames.buf.len() <= bytes.len());
    }

    #[test]
    fn what_no_worker_sends_is_refused_by_its_head_alone() {
        for kind in [Kind::Request, Kind::Body, Kind::BodyEnd, Kind::ToWorker] {
            let head = frame::head(kind, 0).unwrap();
            let mut frames = FrameReader::default();
            frames.fill(&mut Script::sending(&head)).unwrap();
            assert_eq!(frames.next_piece(), Err(Malformed::Unknown(kind as u8)));
        }
    }
}
