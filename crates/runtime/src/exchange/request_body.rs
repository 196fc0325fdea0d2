//! The request body as the application reads it.
//!
//! Runs in: threads of the application, with the GIL released. The first bytes came with the
//! request. The rest is requested from the child when the application first reads beyond them, and
//! not before: if an application answers without reading, its client need not upload the body.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use os::clock::monotonic_us;
use wire::frame::{self, Kind, HEAD_LEN};
use wire::response::{BodyFailure, Sent};

use super::frame_writer::Stream;

/// Bytes asked of the connection at once.
const WINDOW: usize = 64 * 1024;

/// Why the rest of the body cannot be read. Each later read fails in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    Client(BodyFailure),
    /// The connection to the Apache child ended or timed out.
    Server,
    /// The Apache child sent something that is no part of a body.
    Nonsense,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client(BodyFailure::ClientGone) => {
                "the client closed its connection before it had sent the whole request body"
            }
            Self::Client(BodyFailure::Timeout) => {
                "the client stopped sending the request body and Apache's time limit passed"
            }
            Self::Client(BodyFailure::TooLarge) => {
                "the request body is larger than LimitRequestBody allows"
            }
            Self::Client(BodyFailure::Malformed) => {
                "the request body can't be read: the client broke its framing"
            }
            Self::Server => "the connection to Apache ended before the request body was complete",
            Self::Nonsense => "Apache sent something else where the request body was expected",
        })
    }
}

/// The unread part of a request body.
pub struct RequestBody {
    stream: Arc<dyn Stream>,
    /// Bytes received and not yet consumed: `memory[at..end]`, of which the first `ready` are body.
    memory: Vec<u8>,
    at: usize,
    end: usize,
    ready: usize,
    /// Body bytes of the present frame that have yet to be received.
    missing: usize,
    state: State,
    /// How the response went, once the child has reported it.
    sent: Option<Sent>,
    /// No read waits beyond this moment.
    until: Option<Instant>,
    /// Bytes given to the application, and in how many reads.
    pub length: u64,
    pub reads: u64,
    /// Microseconds that reads have waited.
    pub time: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The rest was not requested yet.
    Unasked,
    Streaming,
    Ended,
    Lost(BodyError),
}

impl RequestBody {
    /// A body of which `memory[came]` came with the request; all of it if `whole`.
    pub fn new(
        stream: Arc<dyn Stream>,
        memory: Vec<u8>,
        came: std::ops::Range<usize>,
        whole: bool,
    ) -> Self {
        let end = came.end.min(memory.len());
        let at = came.start.min(end);
        Self {
            stream,
            ready: end - at,
            memory,
            at,
            end,
            missing: 0,
            sent: None,
            until: None,
            state: if whole { State::Ended } else { State::Unasked },
            length: 0,
            reads: 0,
            time: 0,
        }
    }

    /// Whether `n` bytes, or the end, can be had without waiting.
    pub fn at_hand(&self, n: usize) -> bool {
        self.ready >= n || matches!(self.state, State::Ended | State::Lost(_))
    }

    /// Whether the rest must be requested before [`RequestBody::read`] can wait for it.
    pub fn needs_pull(&self, n: usize) -> bool {
        self.state == State::Unasked && self.ready < n
    }

    /// The rest was requested.
    pub fn pulled(&mut self) {
        if self.state == State::Unasked {
            self.state = State::Streaming;
        }
    }

    /// Appends up to `n` bytes to `out`: fewer only at the end. Waits.
    pub fn read(&mut self, n: usize, out: &mut Vec<u8>) -> Result<(), BodyError> {
        let start = out.len();
        while out.len() - start < n {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                break;
            }
            let take = chunk.len().min(n - (out.len() - start));
            out.extend_from_slice(&chunk[..take]);
            self.consume(take);
        }
        self.reads += 1;
        Ok(())
    }

    /// Reads up to `n` bytes that are [at hand](RequestBody::at_hand): fewer only at the end.
    pub fn read_at_hand(&mut self, n: usize) -> Result<&[u8], BodyError> {
        match self.state {
            State::Lost(lost) if self.ready < n => return Err(lost),
            _ => {}
        }
        let n = n.min(self.ready);
        self.consume(n);
        self.reads += 1;
        Ok(&self.memory[self.at - n..self.at])
    }

    /// Fills `into`, completely except at the end. What has yet to come is received directly into
    /// it. Waits.
    pub fn read_into(&mut self, into: &mut [u8]) -> Result<usize, BodyError> {
        let mut at = 0;
        while at < into.len() {
            let room = &mut into[at..];
            if self.ready > 0 {
                let n = self.ready.min(room.len());
                room[..n].copy_from_slice(&self.memory[self.at..self.at + n]);
                self.consume(n);
                at += n;
                continue;
            }
            match self.state {
                State::Ended => break,
                State::Lost(lost) => return Err(lost),
                State::Unasked | State::Streaming => {}
            }
            let got = match self.at == self.end && self.missing > 0 {
                true => self.receive_body(room),
                // If only the head of a frame is received here, its body can be received in place.
                false if room.len() >= WINDOW / 8 => self.advance(HEAD_LEN).map(|()| 0),
                false => self.advance(WINDOW).map(|()| 0),
            };
            match got {
                Ok(n) => at += n,
                Err(lost) => {
                    self.state = State::Lost(lost);
                    return Err(lost);
                }
            }
        }
        self.reads += 1;
        Ok(at)
    }

    fn receive_body(&mut self, into: &mut [u8]) -> Result<usize, BodyError> {
        let room = into.len().min(self.missing);
        let n = self.received(|stream, until| receive(stream, &mut into[..room], until))?;
        self.missing -= n;
        self.length += n as u64;
        Ok(n)
    }

    /// Appends a line with its newline, at most `limit` bytes of it. Waits.
    pub fn read_line(&mut self, limit: usize, out: &mut Vec<u8>) -> Result<(), BodyError> {
        let start = out.len();
        loop {
            let room = limit - (out.len() - start);
            if room == 0 {
                break;
            }
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                break;
            }
            let chunk = &chunk[..chunk.len().min(room)];
            let newline = chunk.iter().position(|&b| b == b'\n');
            let take = newline.map_or(chunk.len(), |i| i + 1);
            out.extend_from_slice(&chunk[..take]);
            self.consume(take);
            if newline.is_some() {
                break;
            }
        }
        self.reads += 1;
        Ok(())
    }

    /// Whether a whole line, or `limit` bytes, or the end can be had without waiting.
    pub fn line_at_hand(&self, limit: usize) -> bool {
        let ready = &self.memory[self.at..self.at + self.ready];
        self.at_hand(limit) || ready.contains(&b'\n')
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
        self.ready -= n;
        self.length += n as u64;
    }

    /// The body bytes at hand, after waiting for some; empty at the end.
    fn chunk(&mut self) -> Result<&[u8], BodyError> {
        while self.ready == 0 {
            match self.state {
                State::Ended => break,
                State::Lost(lost) => return Err(lost),
                State::Unasked | State::Streaming => {
                    if let Err(lost) = self.advance(WINDOW) {
                        self.state = State::Lost(lost);
                        return Err(lost);
                    }
                }
            }
        }
        Ok(&self.memory[self.at..self.at + self.ready])
    }

    /// Advances by one frame head or one receive of at most `window` bytes.
    fn advance(&mut self, window: usize) -> Result<(), BodyError> {
        let received = self.end - self.at;
        if self.missing > 0 && received > 0 {
            self.ready = received.min(self.missing);
            self.missing -= self.ready;
            return Ok(());
        }
        if self.missing == 0 {
            if let Some(head) = self.memory[self.at..self.end].first_chunk::<HEAD_LEN>() {
                let frame = frame::parse(head).map_err(|_| BodyError::Nonsense)?;
                match frame.kind {
                    Kind::Body => self.missing = frame.len,
                    Kind::BodyEnd => self.state = State::Ended,
                    Kind::BodyFailed | Kind::Sent => {
                        let payload = &self.memory[self.at + HEAD_LEN..self.end];
                        if payload.len() < frame.len {
                            return self.receive(window);
                        }
                        let payload = &payload[..frame.len];
                        self.at += HEAD_LEN + frame.len;
                        if frame.kind == Kind::BodyFailed {
                            let why =
                                BodyFailure::decode(payload).map_err(|_| BodyError::Nonsense)?;
                            return Err(BodyError::Client(why));
                        }
                        // The report came before the end of the body: the client has left without
                        // taking the response.
                        self.sent = Some(Sent::decode(payload).map_err(|_| BodyError::Nonsense)?);
                        return Err(BodyError::Client(BodyFailure::ClientGone));
                    }
                    _ => return Err(BodyError::Nonsense),
                }
                self.at += HEAD_LEN;
                return Ok(());
            }
        }
        self.receive(window)
    }

    fn receive(&mut self, window: usize) -> Result<(), BodyError> {
        self.memory.copy_within(self.at..self.end, 0);
        self.end -= self.at;
        self.at = 0;
        if self.memory.len() < self.end + window {
            self.memory.resize(self.end + window, 0);
        }
        let (mut memory, end) = (std::mem::take(&mut self.memory), self.end);
        let result =
            self.received(|stream, until| receive(stream, &mut memory[end..end + window], until));
        self.memory = memory;
        self.end += result?;
        Ok(())
    }

    /// Counts the time that a receive takes.
    fn received(
        &mut self,
        receive: impl FnOnce(&dyn Stream, Option<Instant>) -> io::Result<usize>,
    ) -> Result<usize, BodyError> {
        let began = monotonic_us();
        let result = receive(&*self.stream, self.until);
        self.time += monotonic_us().saturating_sub(began);
        match result {
            Ok(n) if n > 0 => Ok(n),
            _ => Err(BodyError::Server),
        }
    }

    /// Whether no more of it will come, so that what comes next on the connection is no part of it.
    pub fn is_over(&self) -> bool {
        let nothing_behind = self.missing == 0 && self.at + self.ready == self.end;
        nothing_behind && matches!(self.state, State::Unasked | State::Ended)
    }

    /// Waits until the child reports how the response went, for `limit` at most. What is left of
    /// the body is dropped.
    pub fn sent(&mut self, limit: Duration) -> Option<Sent> {
        self.until = Some(Instant::now() + limit);
        while self.sent.is_none() {
            self.at += self.ready;
            self.ready = 0;
            match self.advance(WINDOW) {
                // A body that is lost does not matter any more.
                Ok(()) | Err(BodyError::Client(_)) => {}
                Err(BodyError::Server | BodyError::Nonsense) => break,
            }
        }
        self.sent
    }

    /// Gives back the buffer, for the next request.
    pub fn into_buffer(self) -> Vec<u8> {
        self.memory
    }
}

fn receive(stream: &dyn Stream, into: &mut [u8], until: Option<Instant>) -> io::Result<usize> {
    match until {
        None => stream.receive(into),
        Some(until) => stream.receive_within(into, until.saturating_duration_since(Instant::now())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame_writer::tests::FakeStream;
    use super::*;

    fn body(first: &[u8], whole: bool, incoming: &[&[u8]]) -> RequestBody {
        let fake = FakeStream::default();
        *fake.incoming.lock().unwrap() = incoming.iter().map(|piece| piece.to_vec()).collect();
        let memory = [b"..", first, b"stale"].concat();
        RequestBody::new(Arc::new(fake), memory, 2..2 + first.len(), whole)
    }

    fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
        [&frame::head(kind, payload.len()).unwrap()[..], payload].concat()
    }

    fn rest_of(body: &mut RequestBody) -> Result<Vec<u8>, BodyError> {
        let mut out = Vec::new();
        body.read(usize::MAX, &mut out).map(|()| out)
    }

    #[test]
    fn a_body_that_came_whole_needs_no_server() {
        let mut b = body(b"one\ntwo", true, &[]);
        assert!(b.at_hand(100) && !b.needs_pull(100) && b.line_at_hand(100));
        let mut line = Vec::new();
        b.read_line(usize::MAX, &mut line).unwrap();
        assert_eq!(
            (line, rest_of(&mut b).unwrap()),
            (b"one\n".to_vec(), b"two".to_vec())
        );
        assert_eq!(rest_of(&mut b).unwrap(), b"");
        assert_eq!((b.length, b.reads), (7, 3));
    }

    #[test]
    fn frames_are_joined_however_they_are_cut() {
        let message = [
            frame(Kind::Body, b"hello "),
            frame(Kind::Body, b""),
            frame(Kind::Body, b"world"),
            frame(Kind::BodyEnd, b""),
        ]
        .concat();
        for size in 1..message.len() {
            let pieces: Vec<&[u8]> = message.chunks(size).collect();
            let mut b = body(b"> ", false, &pieces);
            assert!(b.needs_pull(3) && !b.needs_pull(2));
            b.pulled();
            assert_eq!(rest_of(&mut b).unwrap(), b"> hello world");
        }
    }

    #[test]
    fn frames_are_received_in_place_however_they_are_cut() {
        let long: Vec<u8> = (0..3 * WINDOW).map(|i| (i % 251) as u8).collect();
        let message = [
            frame(Kind::Body, &long[..WINDOW]),
            frame(Kind::Body, b""),
            frame(Kind::Body, &long[WINDOW..WINDOW + 10]),
            frame(Kind::Body, &long[WINDOW + 10..]),
            frame(Kind::BodyEnd, b""),
        ]
        .concat();
        for cut in [777, HEAD_LEN, WINDOW, WINDOW + HEAD_LEN, 1 << 20] {
            for read in [100, WINDOW / 8, WINDOW - 1, WINDOW, 5 * WINDOW] {
                let pieces: Vec<&[u8]> = message.chunks(cut).collect();
                let mut b = body(b"> ", false, &pieces);
                b.pulled();
                let mut got = Vec::new();
                let mut into = vec![0; read];
                loop {
                    let n = b.read_into(&mut into).unwrap();
                    got.extend_from_slice(&into[..n]);
                    if n < read {
                        break;
                    }
                }
                assert!(got == [b"> ", &long[..]].concat(), "{cut} {read}");
                assert_eq!(b.length as usize, got.len());
            }
        }
    }

    #[test]
    fn what_is_at_hand_is_read_without_a_wait_and_a_loss_is_told() {
        let mut b = body(b"one two", true, &[]);
        assert_eq!(b.read_at_hand(4), Ok(&b"one "[..]));
        assert_eq!(b.read_at_hand(9), Ok(&b"two"[..]));
        assert_eq!(b.read_at_hand(9), Ok(&b""[..]));
        assert_eq!((b.length, b.reads), (7, 3));
        let mut b = body(b"", false, &[&frame(Kind::BodyFailed, &[1])]);
        b.pulled();
        let lost = BodyError::Client(BodyFailure::ClientGone);
        assert_eq!(b.read_into(&mut [0; 9]), Err(lost));
        assert_eq!(b.read_at_hand(9), Err(lost));
    }

    #[test]
    fn a_line_stops_at_its_limit_and_spans_frames() {
        let message = [frame(Kind::Body, b"b\nc"), frame(Kind::BodyEnd, b"")].concat();
        let mut b = body(b"a", false, &[&message]);
        b.pulled();
        let mut out = Vec::new();
        b.read_line(usize::MAX, &mut out).unwrap();
        assert_eq!(out, b"ab\n");
        out.clear();
        b.read_line(0, &mut out).unwrap();
        assert_eq!(out, b"");
    }

    #[test]
    fn how_the_response_went_is_found_behind_whatever_is_left_of_the_body() {
        let sent = Sent {
            aborted: true,
            bytes: 300,
        };
        let mut word = Vec::new();
        sent.append(&mut word);
        let gone = frame(Kind::BodyFailed, &[1]);
        let rest = [frame(Kind::Body, b"not read"), frame(Kind::BodyEnd, b"")].concat();
        for before in [vec![], gone, rest] {
            let message = [&before[..], &word].concat();
            for size in 1..message.len() {
                let pieces: Vec<&[u8]> = message.chunks(size).collect();
                let mut b = body(b"unread", false, &pieces);
                assert_eq!(b.sent(Duration::from_secs(1)), Some(sent));
            }
        }
        assert_eq!(body(b"", true, &[]).sent(Duration::ZERO), None);
        // The application was still reading.
        let mut b = body(b"", false, &[&word]);
        b.pulled();
        assert_eq!(
            rest_of(&mut b),
            Err(BodyError::Client(BodyFailure::ClientGone))
        );
        assert_eq!(b.sent(Duration::ZERO), Some(sent));
    }

    #[test]
    fn a_body_is_over_where_nothing_of_it_can_follow() {
        assert!(body(b"unread", true, &[]).is_over());
        assert!(body(b"some", false, &[]).is_over());
        let end = frame(Kind::BodyEnd, b"");
        let mut b = body(b"", false, &[&frame(Kind::Body, b"x"), &end]);
        b.pulled();
        assert!(!b.is_over());
        rest_of(&mut b).unwrap();
        assert!(b.is_over());
        let mut b = body(b"", false, &[&[&end[..], b"more"].concat()]);
        b.pulled();
        rest_of(&mut b).unwrap();
        assert!(!b.is_over());
        let mut b = body(b"", false, &[&frame(Kind::BodyFailed, &[1])]);
        b.pulled();
        rest_of(&mut b).unwrap_err();
        assert!(!b.is_over());
    }

    #[test]
    fn failures_are_told_apart_and_stay() {
        let gone = frame(Kind::BodyFailed, &[1]);
        for (incoming, lost) in [
            (
                vec![&gone[..3], &gone[3..8], &gone[8..]],
                BodyError::Client(BodyFailure::ClientGone),
            ),
            (vec![], BodyError::Server),
            (vec![&[255u8; 9][..]], BodyError::Nonsense),
            (vec![&[24u8, 1, 0, 0, 0, 0, 0, 0][..]], BodyError::Nonsense),
        ] {
            let mut b = body(b"", false, &incoming);
            b.pulled();
            assert_eq!(rest_of(&mut b), Err(lost));
            assert_eq!(rest_of(&mut b), Err(lost));
        }
    }
}
