//! What the worker shows of itself to the supervisor, while it works.
//!
//! Written by: request threads, each its own cells, with a few plain stores and no system call. See
//! [`wire::scoreboard`]. There is one board for the life of the process; a worker that was given none, or
//! nothing usable, works as well and shows nothing.

use std::sync::OnceLock;

use os::clock;
use os::shared::Mapped;
use wire::keys::code;
use wire::request::{Key, Request};
use wire::scoreboard::{Counters, RequestStart, Scoreboard};

use crate::process::fork;

/// Where the supervisor has put the board.
const DESCRIPTOR: i32 = 5;

static BOARD: OnceLock<Mapped> = OnceLock::new();
/// When the process came up, in microseconds since the epoch.
static STARTED: OnceLock<u64> = OnceLock::new();

/// The board; `None` also in a process that the application forked, which shares the memory.
fn board() -> Option<Scoreboard<'static>> {
    let mapped = BOARD.get().filter(|_| !fork::happened())?;
    Some(Scoreboard(mapped.cells()))
}

/// Takes over what was inherited, closes the descriptor, and describes the process.
pub fn open(generation: u32) {
    STARTED.get_or_init(clock::epoch_us);
    let mapped = os::descriptor::take_inherited(DESCRIPTOR).and_then(Mapped::open);
    if let Ok(mapped) = mapped {
        let mapped = BOARD.get_or_init(|| mapped);
        Scoreboard(mapped.cells()).describe(generation, clock::monotonic_us());
    }
}

/// When the process came up, in microseconds since the epoch.
pub fn started() -> u64 {
    *STARTED.get_or_init(clock::epoch_us)
}

/// What thread `thread`, counted from 1, has counted.
pub fn counters(thread: u32) -> Counters {
    board().map_or_else(Counters::default, |board| board.counters(thread))
}

/// A thread has the GIL now.
pub fn beat() {
    if let Some(board) = board() {
        board.beat(clock::monotonic_us());
    }
}

/// Notes the number a text for the log begins with, if it does.
pub fn error(text: &str) {
    let number = text
        .strip_prefix("WSGI")
        .and_then(|rest| rest.get(..4)?.parse().ok());
    if let (Some(number), Some(board)) = (number, board()) {
        board.error(number, clock::monotonic_us());
    }
}

/// A request that is shown as long as this lives.
#[derive(Debug)]
pub struct ScoreboardEntry {
    thread: u32,
    counts: bool,
}

impl ScoreboardEntry {
    /// Thread `thread`, counted from 1, has taken up a request; when, is microseconds of the
    /// monotonic clock.
    pub fn begin(thread: u32, request: &Request<'_>, taken_up: u64) -> Self {
        if let Some(board) = board() {
            let (method, path) = line(request);
            board.begin(
                thread,
                &RequestStart {
                    now: taken_up,
                    queue_time: taken_up.saturating_sub(request.prologue.sent),
                    method,
                    path,
                    application_group: request.prologue.application_group,
                },
            );
        }
        Self {
            thread,
            counts: true,
        }
    }

    /// The request was not run here: it does not count.
    pub fn withdraw(&mut self) {
        self.counts = false;
    }
}

impl Drop for ScoreboardEntry {
    fn drop(&mut self) {
        if let Some(board) = board() {
            board.end(self.thread, clock::monotonic_us(), self.counts);
        }
    }
}

/// Method and URL as the client wrote them.
pub fn line<'a>(request: &Request<'a>) -> (&'a [u8], &'a [u8]) {
    let (mut method, mut path): (&[u8], &[u8]) = (b"", b"");
    for (key, value) in request.environ.iter() {
        if key == Key::Known(const { code("REQUEST_METHOD") }) {
            method = value;
        } else if key == Key::Known(const { code("REQUEST_URI") }) {
            path = value;
            // The child writes them side by side, behind everything a client could name so.
            if !method.is_empty() {
                break;
            }
        }
    }
    (method, path)
}
