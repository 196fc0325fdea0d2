//! Cuts what a worker sends into frames.
//!
//! Runs in: an Apache child. Holds one buffer for the request. It grows to what the frame at its
//! front was announced to need, which is bounded by the frame's kind, and `Data` is never gathered:
//! it leaves in the pieces in which it comes.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

use wire::frame::{self, Kind, HEAD_LEN};
use wire::response::End;
use wire::Malformed;

use super::peer::Peer;

/// First size of the buffer: a small response with its head, in one receive.
const FIRST: usize = 8 << 10;
/// Size once a response has filled the first: fewer, larger receives for large bodies.
const STREAM: usize = 64 << 10;
/// Descriptors that may be here before the frames they belong to.
const MOST_FILES: usize = 4;

/// The next thing in the stream. Ranges are for [`Frames::bytes`] and hold until the next
/// [`Frames::fill`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A whole frame of any kind but `Data`.
    Frame(Kind, Range<usize>),
    /// Some bytes of a `Data` frame, never none.
    Data(Range<usize>),
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
pub struct Frames {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the current `Data` frame that are still to come out.
    data_left: usize,
    /// Size of the frame at `start`, head included, as far as it is known.
    need: usize,
    files: VecDeque<OwnedFd>,
    received: bool,
}

impl Default for Frames {
    fn default() -> Frames {
        Frames {
            buf: vec![0; FIRST],
            start: 0,
            end: 0,
            data_left: 0,
            need: HEAD_LEN,
            files: VecDeque::new(),
            received: false,
        }
    }
}

impl Frames {
    /// Whether a single byte has come.
    pub fn have_begun(&self) -> bool {
        self.received
    }

    /// Whether the stream may end here as far as frames go.
    pub fn is_between_frames(&self) -> bool {
        self.start == self.end && self.data_left == 0
    }

    /// Whether nothing is here that has not come out.
    pub fn are_over(&self) -> bool {
        self.is_between_frames() && self.files.is_empty()
    }

    /// The bytes of a piece.
    pub fn bytes(&self, range: &Range<usize>) -> &[u8] {
        &self.buf[range.clone()]
    }

    /// Takes the next piece; `None` until more has been received.
    ///
    /// # Errors
    /// [`Malformed`] where it is nothing a worker may send.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, Malformed> {
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
                return Ok(Some(Piece::Data(range)));
            }
            self.need = HEAD_LEN;
            let Some((kind, len)) = self.peek_head()? else {
                return Ok(None);
            };
            if kind == Kind::Data {
                self.start += HEAD_LEN;
                self.data_left = len;
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
        self.data_left == 0 && matches!(self.peek_head(), Ok(Some((Kind::Data, 1..))))
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
    pub fn fill(&mut self, peer: &mut impl Peer) -> io::Result<Filled> {
        self.make_room();
        let room = self.buf.len() - self.end;
        let received = match peer.receive(&mut self.buf[self.end..]) {
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
        self.end += received.len.min(room);
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
    use crate::child::carry::tests::Script;
    use wire::response::{append_head, Log};

    fn all(frames: &mut Frames) -> Vec<Piece> {
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
            let mut peer = Script::sending(&bytes).in_pieces_of(size);
            let mut frames = Frames::default();
            let mut body = Vec::new();
            let mut kinds = Vec::new();
            while frames.fill(&mut peer).unwrap() != Filled::End {
                for piece in all(&mut frames) {
                    match piece {
                        Piece::Data(range) => body.extend_from_slice(frames.bytes(&range)),
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

    #[test]
    fn the_end_is_seen_before_the_last_data_is_given_away() {
        let mut frames = Frames::default();
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
        let mut frames = Frames::default();
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
        let mut peer = Script::sending(&bytes).in_pieces_of(777);
        let mut frames = Frames::default();
        loop {
            frames.fill(&mut peer).unwrap();
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
            let mut frames = Frames::default();
            frames.fill(&mut Script::sending(&head)).unwrap();
            assert_eq!(frames.next_piece(), Err(Malformed::Unknown(kind as u8)));
        }
    }
}
