//! Workers and clients that do as a test tells them, and the tests by subject.

mod bodies;
mod early;
mod hostile;
mod repeats;
mod responses;
mod spooled;

use std::collections::VecDeque;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use wire::frame::{self, Kind};
use wire::response::{append_head, BodyFailure, End, Fail, File, Head, Level, Log, Retry, Sent};
use wire::Malformed;

use super::client::{BodyRead, BodySource, Client, FileSent, Gone};
use super::failure::RelayFailure;
use super::response_body::PassedFile;
use super::response_head::{PlacedField, ResponseHead};
use super::spool::tests::place;
use super::upload::Upload;
use super::worker::{ConnectionChoice, Dial, DialError, Interest, Received, WorkerConnection};
use super::{relay_request, RelayLimits, RelayOutcome, RelayRequest};

/// How a scripted worker goes on after its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    Closes,
    Resets,
    StaysSilent,
}

/// What a scripted worker's socket does with what is sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ear {
    Open,
    Closed,
    Full,
}

/// A worker that says its lines whatever it is told.
#[derive(Debug)]
pub struct Script {
    lines: Vec<u8>,
    said: usize,
    piece: usize,
    afterwards: Afterwards,
    /// Descriptors, each with the place of the byte that it travels with.
    files: VecDeque<(usize, OwnedFd)>,
    pub heard: Vec<u8>,
    ear: Ear,
    /// What it is told stays in its socket.
    leaves_unread: bool,
    /// The client is seen to close its side.
    client_closes: bool,
    /// The client has no room before all lines are said.
    client_is_slow: bool,
}

impl Script {
    pub fn sending(lines: &[u8]) -> Script {
        Script {
            lines: lines.to_vec(),
            said: 0,
            piece: usize::MAX,
            afterwards: Afterwards::Closes,
            files: VecDeque::new(),
            heard: Vec::new(),
            ear: Ear::Open,
            leaves_unread: false,
            client_closes: false,
            client_is_slow: false,
        }
    }

    pub fn in_pieces_of(mut self, piece: usize) -> Script {
        self.piece = piece;
        self
    }

    fn then(mut self, afterwards: Afterwards) -> Script {
        self.afterwards = afterwards;
        self
    }

    fn with_slow_client(mut self) -> Script {
        self.client_is_slow = true;
        self
    }

    fn with_ear(mut self, ear: Ear) -> Script {
        self.ear = ear;
        self
    }

    /// Has a descriptor travel with the next `File` frame, or with the first byte where there is
    /// none.
    fn with_file(self, file: OwnedFd) -> Script {
        let from = self.files.back().map_or(0, |(at, _)| at + 1);
        let (mut at, mut rest) = (0, &self.lines[..]);
        while let Ok(Some((head, _, more))) = frame::split(rest) {
            if head.kind == Kind::File && at >= from {
                return self.with_file_at(at, file);
            }
            (at, rest) = (self.lines.len() - more.len(), more);
        }
        self.with_file_at(0, file)
    }

    fn with_file_at(mut self, at: usize, file: OwnedFd) -> Script {
        self.files.push_back((at, file));
        self
    }

    fn speaks(&self) -> bool {
        self.said < self.lines.len() || self.afterwards != Afterwards::StaysSilent
    }
}

impl WorkerConnection for Script {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.ear {
            Ear::Closed => Err(io::ErrorKind::BrokenPipe.into()),
            Ear::Full => Err(io::ErrorKind::WouldBlock.into()),
            Ear::Open => {
                self.heard.extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }

    fn receive(&mut self, into: &mut [u8]) -> io::Result<Received> {
        if !self.speaks() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let left = &self.lines[self.said..];
        if left.is_empty() && self.afterwards == Afterwards::Resets {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let mut len = left.len().min(self.piece).min(into.len());
        // Those that would travel with bytes that were lost come with the last.
        let at = |place: usize| place.min(self.lines.len().saturating_sub(1));
        let file = match self.files.front() {
            Some((place, _)) if at(*place) < self.said + len => self.files.pop_front(),
            _ => None,
        };
        // As a socket: what one receive gets ends with the bytes of the next descriptor's message.
        if let Some((next, _)) = self.files.front() {
            len = len.min(at(*next).saturating_sub(self.said).max(1));
        }
        into[..len].copy_from_slice(&left[..len]);
        self.said += len;
        Ok(Received {
            len,
            file: file.map(|(_, file)| file),
        })
    }

    fn wait(
        &mut self,
        interest: Interest,
        _client: Option<BorrowedFd<'_>>,
        limit: Duration,
    ) -> io::Result<Interest> {
        let ready = Interest {
            from_worker: interest.from_worker && self.speaks(),
            to_worker: interest.to_worker && self.ear != Ear::Full,
            from_client: interest.from_client,
            to_client: interest.to_client && !(self.client_is_slow && self.said < self.lines.len()),
            client_closed: interest.client_closed && self.client_closes,
            client_lost: false,
        };
        if ready.is_empty() {
            std::thread::sleep(limit);
        } else if !ready.from_worker && !ready.to_client {
            std::thread::sleep(limit.min(Duration::from_millis(1)));
        }
        Ok(ready)
    }
}

/// A group whose workers are `scripts`, one for each connection.
struct Cast {
    scripts: VecDeque<Script>,
    refusals: VecDeque<DialError>,
    dialled: usize,
    /// The first connection has carried a request before.
    first_is_kept: bool,
    /// The processes whose connections were given back.
    pooled: Vec<u32>,
    heard: std::rc::Rc<std::cell::RefCell<Vec<Vec<u8>>>>,
}

impl Cast {
    fn of(scripts: impl IntoIterator<Item = Script>) -> Cast {
        Cast {
            scripts: scripts.into_iter().collect(),
            refusals: VecDeque::new(),
            dialled: 0,
            first_is_kept: false,
            pooled: Vec::new(),
            heard: std::rc::Rc::default(),
        }
    }
}

struct Played {
    script: Script,
    is_pooled: bool,
    heard: std::rc::Rc<std::cell::RefCell<Vec<Vec<u8>>>>,
}

impl Drop for Played {
    fn drop(&mut self) {
        self.heard
            .borrow_mut()
            .push(std::mem::take(&mut self.script.heard));
    }
}

impl WorkerConnection for Played {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.script.send(bytes)
    }
    fn receive(&mut self, into: &mut [u8]) -> io::Result<Received> {
        self.script.receive(into)
    }
    fn wait(
        &mut self,
        interest: Interest,
        client: Option<BorrowedFd<'_>>,
        limit: Duration,
    ) -> io::Result<Interest> {
        self.script.wait(interest, client, limit)
    }
    fn end_sending(&mut self) {
        self.script.heard.extend_from_slice(b"<end>");
    }
    fn is_pooled(&self) -> bool {
        self.is_pooled
    }
    fn forget(&self) {
        self.heard.borrow_mut().push(b"<forget>".to_vec());
    }
    fn unread(&self) -> Option<bool> {
        self.is_pooled.then_some(self.script.leaves_unread)
    }
}

impl Dial for Cast {
    type Connection = Played;

    fn dial(&mut self, _limit: Duration, choice: ConnectionChoice) -> Result<Played, DialError> {
        if let Some(refusal) = self.refusals.pop_front() {
            return Err(refusal);
        }
        self.dialled += 1;
        let script = self
            .scripts
            .pop_front()
            .ok_or(DialError::Never(io::ErrorKind::NotFound.into()))?;
        let is_pooled = choice == ConnectionChoice::PooledOrNew && self.first_is_kept;
        Ok(Played {
            script,
            is_pooled,
            heard: self.heard.clone(),
        })
    }

    fn keep(&mut self, _peer: Played, pid: u32) {
        self.pooled.push(pid);
    }

    fn place(&self) -> String {
        "/run/wsgi.sock".into()
    }
}

/// What a client does when its body is read.
#[derive(Debug, Clone)]
enum Sends {
    Bytes(&'static [u8]),
    NothingYet,
    /// Nothing comes for so long.
    NothingFor(Duration),
    End,
    Fails(BodyFailure),
}

#[derive(Debug, Default)]
struct FakeClient {
    sends: VecDeque<Sends>,
    silent_until: Option<Instant>,
    status: Option<u16>,
    fields: Vec<String>,
    body: Vec<u8>,
    /// Files that it was given.
    files: usize,
    pieces: usize,
    flushes: usize,
    ended: usize,
    broken: usize,
    interims: Vec<u16>,
    logged: Vec<(Level, String)>,
    reports: Vec<RelayFailure>,
    leaves_after: Option<usize>,
    gone: bool,
    socket: Option<OwnedFd>,
    /// What its socket takes without a wait.
    room: usize,
    abandoned: usize,
}

impl FakeClient {
    fn sending(sends: &[Sends]) -> FakeClient {
        FakeClient {
            sends: sends.iter().cloned().collect(),
            ..FakeClient::default()
        }
    }

    /// A client whose socket takes `room` bytes at once.
    fn with_room(room: usize) -> FakeClient {
        let socket = std::fs::File::open("/dev/null").unwrap();
        FakeClient {
            socket: Some(socket.into()),
            room,
            ..FakeClient::default()
        }
    }

    fn said(&self, number: &str) -> bool {
        self.reports
            .iter()
            .any(|failure| failure.text.starts_with(number))
    }

    fn write(&mut self, bytes: &[u8], is_last: bool) -> Result<(), Gone> {
        assert_eq!(self.ended, 0, "something follows the end");
        assert_eq!(self.broken, 0, "something follows the break");
        assert!(self.status.is_some(), "a body before the head");
        if self
            .leaves_after
            .is_some_and(|most| self.body.len() >= most)
        {
            return Err(Gone);
        }
        self.body.extend_from_slice(bytes);
        self.pieces += 1;
        self.ended += usize::from(is_last);
        Ok(())
    }
}

impl BodySource for FakeClient {
    fn read_body(&mut self, _at_most: usize, into: &mut Vec<u8>) -> BodyRead {
        if self
            .silent_until
            .is_some_and(|until| until > Instant::now())
        {
            return BodyRead::Nothing;
        }
        self.silent_until = None;
        match self.sends.pop_front() {
            Some(Sends::Bytes(bytes)) => {
                into.extend_from_slice(bytes);
                BodyRead::Some
            }
            Some(Sends::End) => BodyRead::Last,
            Some(Sends::Fails(failure)) => BodyRead::Failed(failure),
            Some(Sends::NothingYet) | None => BodyRead::Nothing,
            Some(Sends::NothingFor(time)) => {
                self.silent_until = Some(Instant::now() + time);
                BodyRead::Nothing
            }
        }
    }

    fn wait_for_body(&self, limit: Duration, _pause: Duration) {
        let silence = match self.silent_until {
            Some(until) => until.saturating_duration_since(Instant::now()),
            None if self.sends.is_empty() => limit,
            None => Duration::ZERO,
        };
        std::thread::sleep(silence.min(limit));
    }
}

impl Client for FakeClient {
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    fn interim(&mut self, head: &Head<'_>) {
        assert_eq!(self.status, None);
        self.interims.push(head.status);
    }

    fn head(&mut self, head: &ResponseHead<'_>) {
        assert_eq!(self.status.replace(head.status()), None, "a second head");
        self.fields = head.fields().map(|field| format!("{field:?}")).collect();
    }

    fn error_head(&mut self, head: &ResponseHead<'_>) {
        for field in head.fields() {
            if let PlacedField::WithErrors(name, _) = field {
                self.fields.push(String::from_utf8_lossy(name).into_owned());
            }
        }
    }

    fn data(&mut self, pieces: &[&[u8]], is_last: bool) -> Result<(), Gone> {
        self.write(&pieces.concat(), is_last)
    }

    fn room(&self) -> Option<usize> {
        self.socket.as_ref().map(|_| self.room)
    }

    fn abandon(&mut self) {
        self.abandoned += 1;
    }

    fn is_gone(&self) -> bool {
        self.gone
    }

    fn bytes_sent(&self) -> u64 {
        self.body.len() as u64
    }

    fn file(
        &mut self,
        file: PassedFile,
        offset: u64,
        len: u64,
        is_last: bool,
    ) -> Result<FileSent, Gone> {
        self.files += 1;
        let mut file = &file.file;
        file.seek(io::SeekFrom::Start(offset)).unwrap();
        let mut bytes = Vec::new();
        file.take(len).read_to_end(&mut bytes).unwrap();
        self.write(&bytes, is_last).map(|()| FileSent::Whole)
    }

    fn flush(&mut self) -> Result<(), Gone> {
        self.flushes += 1;
        Ok(())
    }

    fn break_off(&mut self) {
        assert_eq!(self.ended, 0, "a complete response is broken");
        self.broken += 1;
    }

    fn log(&mut self, level: Level, text: &[u8]) {
        self.logged
            .push((level, String::from_utf8_lossy(text).into_owned()));
    }

    fn report(&mut self, failure: &RelayFailure) {
        self.reports.push(failure.clone());
    }
}

const MESSAGE: &[u8] = b"the request";

fn limits() -> RelayLimits {
    RelayLimits {
        connect: Duration::from_millis(30),
        successor: Duration::from_millis(100),
        silence: Duration::from_millis(30),
        client: Duration::from_millis(30),
        reader: Duration::from_millis(30),
        flush_delay: Duration::from_millis(1),
        flush_bytes: 8 << 20,
        response_buffer: 1 << 20,
        spool_after: Duration::from_millis(5),
        header_field: 32 << 10,
    }
}

fn request() -> RelayRequest<'static> {
    RelayRequest {
        group: b"shop",
        message: MESSAGE,
        upload: Upload::whole(),
        head_only: false,
        error_override: false,
        may_redirect: true,
        limits: limits(),
        spool: place(0),
    }
}

fn uploading() -> RelayRequest<'static> {
    RelayRequest {
        upload: Upload::open(false),
        ..request()
    }
}

fn play_all(
    scripts: impl IntoIterator<Item = Script>,
    client: &mut FakeClient,
    request: RelayRequest<'_>,
) -> (RelayOutcome, Vec<Vec<u8>>) {
    let mut cast = Cast::of(scripts);
    let outcome = relay_request(&mut cast, client, request);
    (outcome, cast.heard.take())
}

fn play(script: Script, client: &mut FakeClient, request: RelayRequest<'_>) -> RelayOutcome {
    play_all([script], client, request).0
}

/// Builds what a worker says.
#[derive(Default, Clone)]
struct Lines(Vec<u8>);

impl Lines {
    fn head(mut self, status: u16, fields: &[(&str, &str)]) -> Lines {
        let fields: Vec<_> = fields
            .iter()
            .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
            .collect();
        append_head(&mut self.0, Kind::Head, status, b"Yes", fields.into_iter()).unwrap();
        self
    }

    fn interim(mut self, status: u16) -> Lines {
        append_head(&mut self.0, Kind::Interim, status, b"", [].into_iter()).unwrap();
        self
    }

    fn frame(mut self, kind: Kind, payload: &[u8]) -> Lines {
        frame::append::<Malformed>(&mut self.0, kind, |out| {
            out.extend_from_slice(payload);
            Ok(())
        })
        .unwrap();
        self
    }

    fn data(self, bytes: &[u8]) -> Lines {
        self.frame(Kind::Data, bytes)
    }

    fn log(mut self, text: &[u8]) -> Lines {
        Log {
            level: Level::Error,
            text,
        }
        .append(&mut self.0);
        self
    }

    fn file(mut self, offset: u64, len: u64) -> Lines {
        File { offset, len }.append(&mut self.0);
        self
    }

    fn retry(mut self, why: Retry) -> Lines {
        why.append(&mut self.0);
        self
    }

    fn fail(mut self, status: u16, text: &[u8]) -> Lines {
        Fail { status, text }.append(&mut self.0);
        self
    }

    fn end(mut self) -> Lines {
        END.append(&mut self.0);
        self
    }

    fn broken_end(mut self) -> Lines {
        End {
            broken: true,
            ..END
        }
        .append(&mut self.0);
        self
    }

    fn said(&self) -> Script {
        Script::sending(&self.0)
    }
}

const END: End = End {
    broken: false,
    awaited: false,
    keep_alive: false,
    queue_time: 10,
    application_time: 20,
    pid: 30,
    thread: 1,
};

fn hello() -> Lines {
    Lines::default()
        .head(
            200,
            &[("Content-Type", "text/plain"), ("Content-Length", "5")],
        )
        .data(b"hello")
        .end()
}

pub fn a_file(content: &[u8]) -> OwnedFd {
    let path = std::env::temp_dir().join(format!(
        "wsgi-relay-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::write(&path, content).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file.into()
}
