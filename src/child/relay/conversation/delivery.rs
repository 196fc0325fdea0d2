//! Sends the response to the client: directly while the client reads, buffered while it does not,
//! so that a worker's thread never waits for a client whose response fits into the bound.
//!
//! Data that does not fit into memory waits in a temporary file, once the client has delayed the
//! worker for a moment. A client that reads quickly never causes a file.
//!
//! Runs in: an Apache child, as a part of [`Conversation`]. httpd's filters block while a client
//! does not read, and meanwhile the thread does not read from the worker. So until the worker is
//! done, the filters get only what the client's socket can accept. After that they may block, since
//! no worker waits any more.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use wire::response::{self, End};

use super::super::client::{Client, FileSent, Gone};
use super::super::failure::RelayFailure;
use super::super::frame_reader::Part;
use super::super::response_body::{sendable, PassedFile};
use super::super::response_buffer::Stretch;
use super::super::worker::{Interest, WorkerConnection};
use super::super::RelayOutcome;
use super::{AttemptResult, Conversation, Phase, Stop};

/// Bytes given to a client at once while it may not be reading: less than a socket that is ready
/// for writing has room for.
pub(super) const SMALL_WRITE: usize = 16 << 10;
/// Bytes that are put together, where they are here already, before the client is given them: each
/// call of httpd's filters costs a chunk and packets of its own.
const GATHER: usize = 256 << 10;

/// Most files that are a part of one response. Each holds a descriptor until the request has ended,
/// and no response of an application has more than one.
const MOST_FILES: u32 = 4;

/// A pause of the worker that clients notice.
const NOTICEABLE_PAUSE: Duration = Duration::from_millis(500);

impl<P: WorkerConnection, C: Client> Conversation<'_, '_, P, C> {
    /// Takes bytes of the body.
    pub(super) fn data(&mut self, mut part: Part) -> Result<(), Stop> {
        let body = match &mut self.phase {
            Phase::Relaying(body) => body,
            Phase::Discarding(..) => return Ok(()),
            Phase::Waiting | Phase::Answered => {
                return Err(self.disorder("it sent a body before a head"))
            }
        };
        let admitted = body.admit(part.len() as u64) as usize;
        part.truncate(admitted);
        let ending = match self.frames.end_follows() {
            Some(end) => !end.broken && !body.is_short(),
            None => false,
        };
        // With its end here the worker is done, and httpd may wait for the client; unless the
        // client is still sending, and reads only afterwards. Pieces that are here together go
        // together.
        let at_once = ending && !self.request.upload.may_be_coming();
        let more = self.frames.data_follows() || !(self.dry || ending);
        let alone = self.buffered.is_empty() && !more;
        if !alone || !(at_once || self.fits(admitted)) {
            self.buffer(part);
            return Ok(());
        }
        if admitted == 0 && !ending {
            return Ok(());
        }
        self.deliver(Delivery::Part(part), ending)
    }

    /// Takes a stretch of a file.
    pub(super) fn file(&mut self, range: Range<usize>) -> Result<(), Stop> {
        let part = response::File::decode(self.frames.bytes(&range))
            .map_err(|why| self.violation(why.into()))?;
        let Some(file) = self.frames.take_file() else {
            return Err(self.disorder("it sent a file without its descriptor"));
        };
        self.files += 1;
        if self.files > MOST_FILES {
            return Err(self.disorder("it sent more files than a response may have"));
        }
        let Phase::Relaying(body) = &mut self.phase else {
            return Err(self.disorder("it sent a file before a head"));
        };
        let (file, size) = match sendable(file) {
            Ok(file) => file,
            Err(why) => {
                return Err(Stop::Failed(RelayFailure::not_a_file(
                    self.request.group,
                    &why,
                )));
            }
        };
        // Counted as far as the file goes: one that has become shorter makes a broken response.
        let there = part.len.min(size.saturating_sub(part.offset));
        let admitted = body.admit(there);
        let shrunk = there < part.len && !body.may_be_short;
        let ending = match self.frames.end_follows() {
            Some(end) => !end.broken && !shrunk && !body.is_short(),
            None => false,
        };
        let Some(counted) = self.request.spool.count_descriptor() else {
            self.copy_file(&file, part.offset, admitted)?;
            return if shrunk { Err(self.shrunk()) } else { Ok(()) };
        };
        let stretch = Stretch {
            file: PassedFile { file, counted },
            offset: part.offset,
            len: admitted,
        };
        if ending && self.buffered.is_empty() {
            return self.deliver(Delivery::File(stretch), true);
        }
        if admitted > 0 {
            self.wait_starts();
            self.buffered.push_file(stretch);
        }
        if shrunk {
            return Err(self.shrunk());
        }
        Ok(())
    }

    /// Sends a stretch of a file that must not stay open, since too many others are. The worker
    /// waits for the client meanwhile.
    fn copy_file(&mut self, file: &File, offset: u64, len: u64) -> Result<(), Stop> {
        let group = self.request.group;
        let most = self.request.spool.descriptors;
        if let Some(failure) = RelayFailure::file_copied(group, most) {
            self.client.report(&failure);
        }
        self.deliver_all(false)?;
        let mut block = vec![0; SMALL_WRITE];
        let (mut at, end) = (offset, offset + len);
        while at < end {
            let most = (end - at).min(SMALL_WRITE as u64) as usize;
            let read = match file.read_at(&mut block[..most], at) {
                Ok(0) => return Err(self.shrunk()),
                Ok(read) => read,
                Err(error) => {
                    let why = error.to_string();
                    return Err(Stop::Failed(RelayFailure::not_a_file(group, &why)));
                }
            };
            self.let_client_read()?;
            self.delivered = true;
            self.client.data(&[&block[..read]], false)?;
            at += read as u64;
            self.unflushed = self.unflushed.saturating_add(read);
        }
        (self.client_took, self.waited_for) = (Instant::now(), Instant::now());
        self.credit = 0;
        Ok(())
    }

    /// The worker is done.
    pub(super) fn end(&mut self, end: End) -> Stop {
        let group = self.request.group;
        self.awaited = end.awaited;
        if matches!(self.phase, Phase::Answered) && !end.broken {
            return Stop::Result(AttemptResult::Finished(RelayOutcome::Complete(end)));
        }
        let Phase::Relaying(body) = &self.phase else {
            return self.disorder("it ended a response that had not begun");
        };
        if end.broken {
            return Stop::Failed(RelayFailure::ended_broken(group, body.sent));
        }
        if body.is_short() {
            let declared = body.declared.unwrap_or(body.sent);
            return Stop::Failed(RelayFailure::short(group, declared, body.sent));
        }
        if body.dropped > 0 {
            let long = RelayFailure::long(group, body.sent, body.dropped);
            self.client.report(&long);
        }
        let has_ended = body.ended;
        self.request.upload.abandon();
        if !has_ended {
            if let Err(stop) = self.deliver_all(true) {
                return stop;
            }
        }
        Stop::Result(AttemptResult::Finished(RelayOutcome::Complete(end)))
    }

    /// Whether the client takes `len` more bytes without waiting, as far as is known.
    fn fits(&mut self, len: usize) -> bool {
        self.room(len).is_some_and(|room| len <= room)
    }

    /// Bytes that the client takes without waiting, asked anew where less than `wanted` is known
    /// of.
    fn room(&mut self, wanted: usize) -> Option<usize> {
        if wanted > self.credit {
            self.credit = self.client.room()?;
        }
        Some(self.credit)
    }

    fn buffer(&mut self, part: Part) {
        if part.is_empty() {
            return;
        }
        self.wait_starts();
        match self.buffered.spool(self.frames.body(&part)) {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                let place = self.request.spool.directory;
                if let Some(failure) = RelayFailure::not_spooled(self.request.group, place, &error)
                {
                    self.client.report(&failure);
                }
            }
        }
        match part {
            Part::Among(_) => self.buffered.push(self.frames.body(&part)),
            Part::Block(range) => {
                let block = self.frames.take_block();
                if let Some(block) = self.buffered.push_block(block, range) {
                    self.frames.recycle(block);
                }
            }
        }
    }

    fn wait_starts(&mut self) {
        if self.buffered.is_empty() {
            self.client_took = Instant::now();
        }
    }

    /// Whether as much is buffered as may be: nothing is taken from the worker then.
    pub(super) fn is_full(&self) -> bool {
        self.buffered.is_full()
    }

    /// Whether the client's socket decides how it goes on.
    pub(super) fn awaits_room(&self) -> bool {
        (!self.buffered.is_empty() || self.flush_is_due) && self.client.socket().is_some()
    }

    /// What is left of the client's time to take something.
    pub(super) fn clients_time(&self) -> Duration {
        self.request
            .limits
            .reader
            .saturating_sub(self.client_took.elapsed())
    }

    /// Gives the client as much of the buffered data as its socket has room for. With `ready` the
    /// socket was found writable, so it has room for at least [`SMALL_WRITE`].
    pub(super) fn drain(&mut self, ready: bool) -> Result<(), Stop> {
        let was_full = self.is_full();
        let mut sure = if ready { SMALL_WRITE } else { 0 };
        if self.flush_is_due && ready && self.buffered.is_empty() {
            return self.flush();
        }
        while !self.buffered.is_empty() {
            self.read_back()?;
            // A file counts as one byte: nobody knows how httpd sends it.
            let wanted = self.buffered.len().max(1);
            let Some(room) = self.room(wanted) else {
                // Nobody can say when an HTTP/2 stream has room: httpd waits for it.
                return match was_full {
                    true => self.deliver_all(false),
                    false => Ok(()),
                };
            };
            let room = room.max(std::mem::take(&mut sure));
            // Very small writes would cost more than they are worth.
            if room < SMALL_WRITE.min(wanted) {
                break;
            }
            self.deliver_buffered(room, false)?;
        }
        if was_full && !self.is_full() {
            self.waited_for = Instant::now();
        }
        if self.buffered.len() < self.request.limits.response_buffer / 2 {
            self.buffered.retry_spool();
        }
        Ok(())
    }

    fn read_back(&mut self) -> Result<(), Stop> {
        self.buffered
            .read_back()
            .map_err(|error| self.failure(RelayFailure::spool_lost, &error))
    }

    /// Whether more is waited for before the client is given what there is: it is most likely here.
    pub(super) fn gathers(&self) -> bool {
        !self.dry && self.buffered.len() < GATHER && !self.is_full()
    }

    /// Gives the client all that is buffered, however long that takes, and with `ending` the end.
    pub(super) fn deliver_all(&mut self, ending: bool) -> Result<(), Stop> {
        let mut ended = false;
        while !self.buffered.is_empty() {
            self.read_back()?;
            let most = match self.request.upload.may_be_coming() {
                true => SMALL_WRITE,
                false => usize::MAX,
            };
            self.let_client_read()?;
            // A file with its end: httpd answers ranges of it. Of several pieces of an iterable the
            // end stays apart, so that they are chunks whether or not they came together.
            ended = ending && self.buffered.file_is_first() && self.buffered.is_last();
            self.deliver_buffered(most, ended)?;
        }
        if ending && !ended {
            self.deliver(Delivery::Nothing, true)?;
        }
        self.waited_for = Instant::now();
        Ok(())
    }

    /// Gives the client of what is buffered `most` bytes, or the file that is its turn.
    fn deliver_buffered(&mut self, most: usize, ending: bool) -> Result<(), Stop> {
        match self.buffered.take_file() {
            Some(stretch) => self.deliver(Delivery::File(stretch), ending)?,
            None => self.deliver(Delivery::Buffered(most), ending)?,
        }
        self.client_took = Instant::now();
        Ok(())
    }

    /// Hands a piece of the response to httpd.
    fn deliver(&mut self, what: Delivery, ending: bool) -> Result<(), Stop> {
        if let Phase::Relaying(body) = &mut self.phase {
            body.ended = ending;
        }
        self.delivered = true;
        let len = match what {
            Delivery::Nothing => {
                self.client.data(&[], ending)?;
                0
            }
            Delivery::Part(part) => {
                self.client.data(&[self.frames.body(&part)], ending)?;
                part.len()
            }
            Delivery::Buffered(most) => {
                let pieces = self.buffered.front(most);
                let len = pieces.iter().map(|piece| piece.len()).sum();
                self.client.data(&pieces, ending)?;
                self.buffered
                    .advance(len, |memory| self.frames.recycle(memory));
                len
            }
            Delivery::File(stretch) => {
                let Stretch { file, offset, len } = stretch;
                self.let_client_read()?;
                if self.client.file(file, offset, len, ending)? == FileSent::Shrunk {
                    return Err(self.shrunk());
                }
                usize::try_from(len).unwrap_or(usize::MAX)
            }
        };
        self.credit = self.credit.saturating_sub(len);
        if ending {
            return Ok(());
        }
        self.unflushed = self.unflushed.saturating_add(len);
        if self.unflushed >= self.request.limits.flush_bytes {
            self.flush()?;
        }
        Ok(())
    }

    fn shrunk(&self) -> Stop {
        let why = "the file is shorter than what was to be sent of it";
        Stop::Failed(RelayFailure::not_a_file(self.request.group, why))
    }

    /// How long the worker may pause before the client gets what there is. Longer in two cases,
    /// until the pause is one that a person notices: a head by itself, since httpd's filters answer
    /// ranges and count lengths only where they see all of a response together; and much for an
    /// HTTP/2 stream, of which nobody can say whether it has room, and where it has not the worker
    /// would wait for its client.
    pub(super) fn flush_delay(&self) -> Duration {
        let usual = self.request.limits.flush_delay;
        let head_alone = !self.delivered && self.buffered.is_empty();
        let much = self.client.socket().is_none() && self.buffered.len() > SMALL_WRITE;
        if head_alone || much {
            usual.max(NOTICEABLE_PAUSE)
        } else {
            usual
        }
    }

    /// The worker has paused: what there is goes to the client, as soon as that costs no wait.
    pub(super) fn pause(&mut self) -> Result<(), Stop> {
        match self.client.room() {
            Some(room) => {
                self.flush_is_due = true;
                self.client_took = Instant::now();
                // Filters may add to what they have held back.
                if room >= SMALL_WRITE && self.buffered.is_empty() {
                    self.flush()?;
                }
                Ok(())
            }
            None => {
                self.deliver_all(false)?;
                self.flush()
            }
        }
    }

    fn flush(&mut self) -> Result<(), Stop> {
        self.let_client_read()?;
        self.client.flush()?;
        self.client_took = Instant::now();
        self.unflushed = 0;
        self.flush_is_due = false;
        Ok(())
    }

    /// The client has taken nothing for too long.
    pub(super) fn stalled(&mut self) -> Stop {
        let given = match &self.phase {
            Phase::Relaying(body) => body.sent.saturating_sub(self.buffered.waiting()),
            _ => 0,
        };
        let limit = self.request.limits.reader;
        self.client
            .report(&RelayFailure::client_stalled(limit, given));
        self.client.abandon();
        Stop::Gone
    }

    /// Where the client may still be sending its body, waits until it takes more of the response,
    /// and reads of the body meanwhile. Without this a client that reads only after it has sent
    /// everything, and a child that reads only after it has sent everything, wait for each other.
    fn let_client_read(&mut self) -> Result<(), Stop> {
        let since = Instant::now();
        while self.request.upload.may_be_coming() && self.client.socket().is_some() {
            let left = self.request.limits.reader.saturating_sub(since.elapsed());
            let interest = Interest {
                from_worker: false,
                to_worker: self.request.upload.awaits_worker(),
                from_client: self.request.upload.has_room(),
                to_client: true,
                ..Interest::default()
            };
            let ready = self.wait_for(interest, left)?;
            if ready.to_client || ready.is_empty() {
                // At the limit httpd's own filters decide what becomes of the client.
                return Ok(());
            }
            if ready.from_client {
                self.read_ahead();
            }
            if ready.to_worker {
                self.push_body()?;
            }
        }
        Ok(())
    }
}

/// A piece of the response.
enum Delivery {
    /// Nothing but its end.
    Nothing,
    /// What has just come.
    Part(Part),
    /// So many bytes at most of what is buffered.
    Buffered(usize),
    /// A stretch of a file.
    File(Stretch),
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Stop {
        Stop::Gone
    }
}
