//! Reads the request body before a worker is asked, so that a client that sends slowly takes no
//! thread of a worker.
//!
//! Runs in: an Apache child, on the thread that serves the request. The first bytes travel in the
//! request message. If the rest comes quickly, the worker is asked at once, and the rest is relayed
//! as the application reads it: that costs neither time nor a file. If it comes slowly, it is read
//! into a temporary file until it is whole. The worker is then asked, and gets it as fast as it
//! reads.
//!
//! Nothing fails that would not fail without the file. Where the file is not to be had, or has no
//! room left, or where the client sends nothing more for a while, the worker is asked with what is
//! here: a client may wait for the response before it sends the rest.

use std::time::{Duration, Instant};

use wire::frame::HEAD_LEN;
use wire::response::BodyFailure;

use super::client::{BodyRead, BodySource};
use super::failure::RelayFailure;
use super::spool::{Place, Spool};
use super::upload::{Upload, WINDOW};

/// A rest of the body that comes within this time may take a thread of a worker as long.
const QUICK: Duration = Duration::from_secs(1);
/// A window of the body that comes within this time is a quick one, however much follows.
const QUICK_WINDOW: Duration = Duration::from_millis(10);
/// The time for a window where nobody knows how much follows.
const UNKNOWN_WINDOW: Duration = Duration::from_millis(100);

/// How long a client may send nothing before it is taken for one that waits for the response. Of a
/// client that says how much it sends that is unlikely, but its network may stall.
const QUIET: Duration = Duration::from_secs(5);
/// The same for a client that does not say how much it sends: such a client may well have a
/// conversation with the application, which a longer time would delay.
const QUIET_CHUNKED: Duration = Duration::from_secs(1);
/// Longest wait: mod_reqtimeout enforces its limits in the read that follows.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// What there is to be read, and how much of it may wait.
#[derive(Debug, Clone, Copy)]
pub struct ReadPlan<'a> {
    /// Name of the process group, for messages.
    pub group: &'a [u8],
    /// Length of the whole body; `None` where the client does not say.
    pub length: Option<u64>,
    /// `request-buffer-size=`: bytes that travel in the request message.
    pub message: usize,
    /// Where the rest may wait. [`Place::most`] is `request-spool-size=`.
    pub place: Place<'a>,
}

/// A body as far as it was read.
#[derive(Debug)]
pub struct EarlyBody {
    /// The rest, of which some may be here.
    pub upload: Upload,
    /// Why no file holds it, if that is to be said.
    pub warning: Option<RelayFailure>,
}

impl From<Upload> for EarlyBody {
    fn from(upload: Upload) -> EarlyBody {
        EarlyBody {
            upload,
            warning: None,
        }
    }
}

/// Goes on reading the body of which `message` holds the first bytes: all that are to travel in the
/// message or, where the length is not known, those that were here already.
///
/// # Errors
/// The body will not be complete. No worker has heard of the request.
pub fn read<S: BodySource>(
    source: &mut S,
    plan: &ReadPlan<'_>,
    message: &mut Vec<u8>,
) -> Result<EarlyBody, BodyFailure> {
    if plan.place.most == 0 || plan.message == 0 {
        return Ok(Upload::open(false).into());
    }
    let mut reader = Reader {
        source,
        plan,
        read: message.len() as u64,
        client_sent: Instant::now(),
        pause: FIRST_PAUSE,
    };
    while message.len() < plan.message {
        match reader.read(plan.message - message.len(), message)? {
            Progress::Some => {}
            Progress::Last => return Ok(Upload::whole().into()),
            Progress::Nothing if reader.wait(READ_INTERVAL) => {}
            Progress::Nothing => return Ok(Upload::open(false).into()),
        }
    }
    let left = plan.length.map(|length| length.saturating_sub(reader.read));
    if left.is_some_and(|left| left > plan.place.most) {
        return Ok(Upload::open(false).into());
    }
    let mut window = Window::new();
    match reader.fill(&mut window, time_for_window(left))? {
        Pace::Quick => Ok(Upload::begun(window.into_frame()?, None, false).into()),
        Pace::Ended => Ok(Upload::begun(window.into_frame()?, None, true).into()),
        Pace::Slow => reader.spool(window),
    }
}

/// How long a quick client may let us wait, in all, for a window of the rest.
fn time_for_window(left: Option<u64>) -> Duration {
    let Some(left) = left else {
        return UNKNOWN_WINDOW;
    };
    let windows = u32::try_from(left / WINDOW as u64).unwrap_or(u32::MAX);
    (QUICK / windows.max(1)).max(QUICK_WINDOW)
}

/// What a read has brought.
#[derive(PartialEq, Eq)]
enum Progress {
    Some,
    Nothing,
    Last,
}

/// How a window of the body has come.
enum Pace {
    Quick,
    Slow,
    /// The body has ended in it.
    Ended,
}

/// The first pause where there is no socket to wait on; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest of them.
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

struct Reader<'x, 'p, S> {
    source: &'x mut S,
    plan: &'x ReadPlan<'p>,
    /// Bytes of the body that were read.
    read: u64,
    /// When the client last sent something.
    client_sent: Instant,
    pause: Duration,
}

impl<S: BodySource> Reader<'_, '_, S> {
    /// Reads what is here, about `most` bytes.
    fn read(&mut self, most: usize, into: &mut Vec<u8>) -> Result<Progress, BodyFailure> {
        let before = into.len();
        let read = self.source.read_body(most, into);
        let came = into.len() - before;
        if came > 0 {
            self.read += came as u64;
            (self.client_sent, self.pause) = (Instant::now(), FIRST_PAUSE);
        }
        match read {
            BodyRead::Failed(failure) => Err(failure),
            BodyRead::Last => Ok(Progress::Last),
            // Complete with its last byte, whether or not its end was seen too.
            _ if self.plan.length == Some(self.read) => Ok(Progress::Last),
            BodyRead::Some => Ok(Progress::Some),
            BodyRead::Nothing => Ok(Progress::Nothing),
        }
    }

    /// Waits for more, for `limit` at most. False where the client has sent nothing for so long that
    /// it may be waiting for the response.
    fn wait(&mut self, limit: Duration) -> bool {
        let quiet = match self.plan.length {
            Some(_) => QUIET,
            None => QUIET_CHUNKED,
        };
        let left = quiet.saturating_sub(self.client_sent.elapsed());
        if left == Duration::ZERO {
            return false;
        }
        self.source.wait_for_body(left.min(limit), self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }

    /// Reads a window, for which the client may let us wait `time` in all.
    fn fill(&mut self, window: &mut Window, mut time: Duration) -> Result<Pace, BodyFailure> {
        while window.len() < WINDOW {
            match self.read(WINDOW - window.len(), &mut window.0)? {
                Progress::Some => {}
                Progress::Last => return Ok(Pace::Ended),
                Progress::Nothing => {
                    let before = Instant::now();
                    if time == Duration::ZERO || !self.wait(time) {
                        return Ok(Pace::Slow);
                    }
                    time = time.saturating_sub(before.elapsed());
                }
            }
        }
        Ok(Pace::Quick)
    }

    /// Reads the rest into a file, behind what `window` holds.
    fn spool(&mut self, mut window: Window) -> Result<EarlyBody, BodyFailure> {
        let mut spool = match Spool::open(self.plan.place) {
            Ok(Some(spool)) => spool,
            Ok(None) => return Ok(Upload::begun(window.into_frame()?, None, false).into()),
            Err(error) => {
                let upload = Upload::begun(window.into_frame()?, None, false);
                return Ok(self.without_file(upload, &error));
            }
        };
        let mut progress = Progress::Some;
        loop {
            if window.len() > 0 {
                let pushed = spool.push(window.bytes());
                if !matches!(pushed, Ok(true)) {
                    let has_ended = progress == Progress::Last;
                    let upload = Upload::begun(window.into_frame()?, Some(spool), has_ended);
                    return Ok(match pushed {
                        Err(error) => self.without_file(upload, &error),
                        Ok(_) => upload.into(),
                    });
                }
                window.clear();
            }
            if progress == Progress::Last
                || (progress == Progress::Nothing && !self.wait(READ_INTERVAL))
            {
                let has_ended = progress == Progress::Last;
                return Ok(Upload::begun(Vec::new(), Some(spool), has_ended).into());
            }
            while window.len() < WINDOW {
                progress = self.read(WINDOW - window.len(), &mut window.0)?;
                if progress != Progress::Some {
                    break;
                }
            }
        }
    }

    fn without_file(&self, upload: Upload, error: &std::io::Error) -> EarlyBody {
        let directory = self.plan.place.directory;
        EarlyBody {
            upload,
            warning: RelayFailure::not_spooled(self.plan.group, directory, error),
        }
    }
}

/// Bytes of the body, with room for the head of a frame before them.
struct Window(Vec<u8>);

impl Window {
    fn new() -> Window {
        let mut bytes = Vec::with_capacity(HEAD_LEN + WINDOW + HEAD_LEN);
        bytes.resize(HEAD_LEN, 0);
        Window(bytes)
    }

    fn len(&self) -> usize {
        self.0.len() - HEAD_LEN
    }

    fn bytes(&self) -> &[u8] {
        &self.0[HEAD_LEN..]
    }

    fn clear(&mut self) {
        self.0.truncate(HEAD_LEN);
    }

    /// A frame of these bytes; nothing where there are none.
    fn into_frame(mut self) -> Result<Vec<u8>, BodyFailure> {
        if self.len() == 0 {
            return Ok(Vec::new());
        }
        // Input filters may give more than was asked for, but not a megabyte in one read.
        let head = wire::frame::head(wire::frame::Kind::Body, self.len());
        let head = head.map_err(|_| BodyFailure::Malformed)?;
        self.0[..HEAD_LEN].copy_from_slice(&head);
        Ok(self.0)
    }
}
