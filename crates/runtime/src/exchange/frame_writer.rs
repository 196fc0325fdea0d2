//! Where the response goes: frames on the connection to the Apache child.
//!
//! Runs in: request threads. Nothing here waits except [`ResponseSink::flush`] and
//! [`ResponseSink::data_now`], which are called with the GIL released.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use wire::frame::{self, Kind};
use wire::hook::Answer;
use wire::response::{End, Fail, File, Level, Log};
use wire::Malformed;

use super::response_head::ResponseHead;

/// Most bytes that are sent while a thread may hold the GIL: copying them takes microseconds.
const AT_ONCE: usize = 64 * 1024;

/// Takes the parts of a response, in their order. Except where a method says that it sends, it only
/// collects.
pub trait ResponseSink: Send {
    fn pull(&mut self);
    fn interim(&mut self, head: &ResponseHead);
    fn head(&mut self, head: &ResponseHead);
    fn data(&mut self, bytes: &[u8]);
    fn file(&mut self, file: OwnedFd, part: File);
    fn log(&mut self, level: Level, text: &[u8]);
    /// An error where it is past a bound.
    fn answer(&mut self, answer: &Answer<'_>) -> Result<(), Malformed>;
    fn fail(&mut self, status: u16, text: &str);
    fn end(&mut self, end: End);
    /// Bytes that were collected and not sent.
    fn waiting(&self) -> usize;
    /// Sends what was collected, as far as that takes no waiting and no time; false if something is
    /// left.
    fn flush_at_once(&mut self) -> io::Result<bool>;
    /// Sends what was collected. Waits.
    fn flush(&mut self) -> io::Result<()>;
    /// Sends what was collected and these bytes, without copying them. Waits.
    fn data_now(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Gives back the buffer it collected in, for the next request.
    fn into_buffer(self: Box<Self>) -> Vec<u8>;
}

/// The connection to the Apache child that relays the request.
pub trait Stream: Send + Sync {
    /// Sends some of the two slices, first things first, with the descriptor beside the first
    /// byte. Waits up to the connection's limit.
    fn send(&self, first: &[u8], second: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<usize>;
    /// Sends some of the bytes, or fails with `WouldBlock`. Does not wait.
    fn send_at_once(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Receives at least one byte; 0 at the end. Waits up to the connection's limit.
    fn receive(&self, into: &mut [u8]) -> io::Result<usize>;
    /// [`Stream::receive`] with a limit of its own; an error of kind `TimedOut` past it.
    fn receive_within(&self, into: &mut [u8], limit: Duration) -> io::Result<usize>;
    /// Whether the other end has said that it sends no more, or is closed. Does not wait.
    fn is_ending(&self) -> bool;
    /// Whether the other end is closed altogether, after waiting up to `limit` for that.
    fn is_closed_within(&self, limit: Duration) -> bool;
    /// From here on a write that would wait fails.
    fn hurry(&self);
    /// Wakes threads that wait on it; nothing is received any more.
    fn shutdown(&self);
    /// The response was sent completely and has said that the connection is keep_alive.
    fn keep(&self);
}

/// Writes frames to a stream.
pub struct FrameWriter<S: Stream + ?Sized> {
    stream: Arc<S>,
    out: Vec<u8>,
    /// Descriptors to send, each with the place in `out` whose byte it travels with.
    files: Vec<(usize, OwnedFd)>,
    /// Where in `out` the head is, if it is there.
    head: Option<Range<usize>>,
}

impl<S: Stream + ?Sized> FrameWriter<S> {
    /// `out` is the buffer to collect in; its contents are forgotten.
    pub fn new(stream: Arc<S>, mut out: Vec<u8>) -> Self {
        out.clear();
        Self {
            stream,
            out,
            files: Vec::new(),
            head: None,
        }
    }

    fn frame(&mut self, kind: Kind, payload: &[u8]) {
        let done: Result<(), Malformed> = frame::append(&mut self.out, kind, |out| {
            out.extend_from_slice(payload);
            Ok(())
        });
        debug_assert!(done.is_ok());
    }

    fn send(&mut self, tail: &[u8]) -> io::Result<()> {
        let result = self.send_all(tail);
        self.out.clear();
        self.files.clear();
        self.head = None;
        result
    }

    fn send_all(&mut self, tail: &[u8]) -> io::Result<()> {
        let total = self.out.len() + tail.len();
        let mut sent = 0;
        let mut files = self.files.drain(..).peekable();
        while sent < total {
            let file = files.next_if(|(at, _)| *at == sent);
            let file = file.map(|(_, file)| file);
            let stop = files.peek().map_or(self.out.len(), |(at, _)| *at);
            let first = &self.out[sent.min(stop)..stop];
            let second = match () {
                () if stop < self.out.len() => &[][..],
                () => &tail[sent.saturating_sub(self.out.len())..],
            };
            let n = self
                .stream
                .send(first, second, file.as_ref().map(AsFd::as_fd))?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            sent += n;
        }
        Ok(())
    }
}

impl<S: Stream + ?Sized> ResponseSink for FrameWriter<S> {
    fn pull(&mut self) {
        self.frame(Kind::Pull, b"");
    }

    fn interim(&mut self, head: &ResponseHead) {
        let done = head.append(&mut self.out, Kind::Interim);
        debug_assert!(done.is_ok());
    }

    fn head(&mut self, head: &ResponseHead) {
        // `ResponseHead` keeps the bounds of the wire itself.
        let start = self.out.len();
        let done = head.append(&mut self.out, Kind::Head);
        debug_assert!(done.is_ok());
        self.head = Some(start..self.out.len());
    }

    fn data(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(Kind::Data.max_len()) {
            self.frame(Kind::Data, part);
        }
    }

    fn file(&mut self, file: OwnedFd, part: File) {
        // A head, its file and the end are one message where that is possible: httpd's filters
        // answer ranges only of what they see together with its end.
        let here = self.out.len();
        let head = self.head.as_ref().filter(|head| head.end == here);
        let at = head.map_or(here, |head| head.start);
        self.files.push((at, file));
        part.append(&mut self.out);
    }

    fn log(&mut self, level: Level, text: &[u8]) {
        Log { level, text }.append(&mut self.out);
    }

    fn answer(&mut self, answer: &Answer<'_>) -> Result<(), Malformed> {
        answer.append(&mut self.out)
    }

    fn fail(&mut self, status: u16, text: &str) {
        Fail {
            status,
            text: text.as_bytes(),
        }
        .append(&mut self.out);
    }

    fn end(&mut self, end: End) {
        end.append(&mut self.out);
    }

    fn waiting(&self) -> usize {
        self.out.len()
    }

    fn flush_at_once(&mut self) -> io::Result<bool> {
        if !self.files.is_empty() || self.out.len() > AT_ONCE {
            return Ok(false);
        }
        if self.out.is_empty() {
            return Ok(true);
        }
        match self.stream.send_at_once(&self.out) {
            Ok(sent) => {
                self.out.drain(..sent);
                Ok(self.out.is_empty())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => {
                self.out.clear();
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.send(b"")
    }

    fn data_now(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(Kind::Data.max_len()) {
            // The bound of the kind was keep_alive by `chunks`.
            if let Ok(head) = frame::head(Kind::Data, part.len()) {
                self.out.extend_from_slice(&head);
                self.send(part)?;
            }
        }
        Ok(())
    }

    fn into_buffer(self: Box<Self>) -> Vec<u8> {
        self.out
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::fd::AsRawFd;
    use std::sync::Mutex;

    use super::*;

    /// Bytes, and the places of descriptors among them.
    type Sent = (Vec<u8>, Vec<(usize, i32)>);

    /// A stream that takes `step` bytes at a time and remembers where descriptors went.
    #[derive(Default)]
    pub(crate) struct FakeStream {
        pub(crate) step: usize,
        pub(crate) sent: Mutex<Sent>,
        /// What `receive` hands out, a piece each time.
        pub(crate) incoming: Mutex<Vec<Vec<u8>>>,
        pub(crate) keep_alive: std::sync::atomic::AtomicBool,
        /// Nothing is sent at once.
        pub(crate) full: std::sync::atomic::AtomicBool,
        /// The other end is closed.
        pub(crate) gone: std::sync::atomic::AtomicBool,
    }

    impl Stream for FakeStream {
        fn send(
            &self,
            first: &[u8],
            second: &[u8],
            file: Option<BorrowedFd<'_>>,
        ) -> io::Result<usize> {
            let mut sent = self.sent.lock().unwrap();
            if let Some(file) = file {
                let at = sent.0.len();
                sent.1.push((at, file.as_raw_fd()));
            }
            let all = [first, second].concat();
            let n = all.len().min(self.step);
            sent.0.extend_from_slice(&all[..n]);
            Ok(n)
        }

        fn send_at_once(&self, bytes: &[u8]) -> io::Result<usize> {
            if self.gone.load(std::sync::atomic::Ordering::SeqCst) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            match self.full.load(std::sync::atomic::Ordering::SeqCst) {
                true => Err(io::ErrorKind::WouldBlock.into()),
                false => self.send(bytes, b"", None),
            }
        }

        fn receive_within(&self, into: &mut [u8], _: Duration) -> io::Result<usize> {
            self.receive(into)
        }

        fn is_ending(&self) -> bool {
            self.incoming.lock().unwrap().is_empty()
        }

        fn is_closed_within(&self, _: Duration) -> bool {
            self.is_ending()
        }

        fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
            let mut incoming = self.incoming.lock().unwrap();
            if incoming.is_empty() {
                return Ok(0);
            }
            let piece = &mut incoming[0];
            let n = piece.len().min(into.len());
            into[..n].copy_from_slice(&piece[..n]);
            piece.drain(..n);
            if piece.is_empty() {
                incoming.remove(0);
            }
            Ok(n)
        }

        fn hurry(&self) {}

        fn shutdown(&self) {}

        fn keep(&self) {
            self.keep_alive
                .store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }

    /// The frames of what was sent: kind and payload each.
    pub(crate) fn frames(mut bytes: &[u8]) -> Vec<(Kind, Vec<u8>)> {
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let (head, payload, rest) = frame::split(bytes).unwrap().unwrap();
            out.push((head.kind, payload.to_vec()));
            bytes = rest;
        }
        out
    }

    #[test]
    fn a_descriptor_travels_with_its_frame_at_every_cut() {
        for step in 1..60 {
            let fake = Arc::new(FakeStream {
                step,
                ..FakeStream::default()
            });
            let mut sink = FrameWriter::new(Arc::clone(&fake), vec![9]);
            let mut opened = Vec::new();
            for _ in 0..2 {
                let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
                opened.push(file.as_raw_fd());
                sink.data(b"abc");
                sink.file(file, File { offset: 1, len: 2 });
            }
            sink.data_now(b"tail").unwrap();
            let sent = fake.sent.lock().unwrap();
            let (data, file) = (frame::HEAD_LEN + 3, frame::HEAD_LEN + 16);
            let places = [(data, opened[0]), (data + file + data, opened[1])];
            assert_eq!(sent.1, places);
            let kinds: Vec<_> = frames(&sent.0).into_iter().map(|(kind, _)| kind).collect();
            assert_eq!(
                kinds,
                [Kind::Data, Kind::File, Kind::Data, Kind::File, Kind::Data]
            );
            assert!(sent.0.ends_with(b"tail"));
        }
    }

    #[test]
    fn a_head_and_its_file_are_one_message_unless_something_is_between_them() {
        let log = |sink: &mut FrameWriter<_>| sink.log(Level::Error, b"text");
        let record = frame::HEAD_LEN + 5;
        for (before, between, place) in [
            (false, false, 0),
            (true, false, record),
            (false, true, usize::MAX),
        ] {
            let fake = Arc::new(FakeStream {
                step: usize::MAX,
                ..FakeStream::default()
            });
            let mut sink = FrameWriter::new(Arc::clone(&fake), Vec::new());
            if before {
                log(&mut sink);
            }
            sink.head(&ResponseHead::new(b"200 OK").unwrap());
            if between {
                log(&mut sink);
            }
            let place = place.min(sink.waiting());
            let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
            sink.file(file, File { offset: 1, len: 2 });
            sink.end(End::default());
            sink.flush().unwrap();
            let sent = fake.sent.lock().unwrap();
            assert_eq!((sent.1.len(), sent.1[0].0), (1, place));
        }
    }
}
