//! What each request thread is at, for the watch.
//!
//! Written by: request threads, at the beginning and the end of a request. Read by the main thread
//! and by threads that interrupt a request. Nothing here is held while waiting for anything, so
//! that the watch can look at a thread whatever that thread waits for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use os::signal::Thread;
use wire::request::Request;

use super::connection::Connection;
use crate::exchange::Exchange;
use crate::process::scoreboard;
use crate::wsgi::progress::Progress;
use crate::wsgi::state::Interpreter;

/// Most bytes shown of a request's URL.
const MOST: usize = 512;

/// One request under watch. Times are microseconds of the monotonic clock.
pub struct Watched {
    /// The thread that serves it.
    pub thread: Thread,
    pub interpreter: &'static Interpreter,
    pub exchange: Arc<Exchange>,
    pub connection: Arc<Connection>,
    /// Method and URL.
    pub line: String,
    pub script: String,
    /// When it was taken up.
    pub since: u64,
    /// How long it had waited for a thread.
    pub queue_time: u64,
    pub progress: Progress,
}

impl Watched {
    /// To be made by the thread that serves the request.
    pub fn new(
        request: &Request<'_>,
        interpreter: &'static Interpreter,
        exchange: &Arc<Exchange>,
        connection: &Arc<Connection>,
        since: u64,
    ) -> Self {
        Self {
            thread: Thread::current(),
            interpreter,
            exchange: Arc::clone(exchange),
            connection: Arc::clone(connection),
            line: line(request),
            script: String::from_utf8_lossy(request.prologue.script).into_owned(),
            since,
            queue_time: since.saturating_sub(request.prologue.sent),
            progress: Progress::of_calling_thread(),
        }
    }
}

/// Method and URL as the client wrote them, for people.
pub fn line(request: &Request<'_>) -> String {
    let (method, url) = scoreboard::line(request);
    let url = url.split(|&byte| byte == b'?').next().unwrap_or_default();
    let url = url.get(..MOST).unwrap_or(url);
    format!(
        "{} {}",
        String::from_utf8_lossy(method),
        String::from_utf8_lossy(url)
    )
}

/// The places of all request threads.
pub struct Posts(Vec<Mutex<Option<Arc<Watched>>>>);

/// A request that is under watch as long as this lives.
pub struct Manned<'a>(MutexOf<'a>);

type MutexOf<'a> = &'a Mutex<Option<Arc<Watched>>>;

fn lock(post: MutexOf<'_>) -> MutexGuard<'_, Option<Arc<Watched>>> {
    post.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Posts {
    pub fn new(threads: u32) -> Self {
        Self((0..threads).map(|_| Mutex::default()).collect())
    }

    /// Thread `number`, counted from 1, serves the request.
    pub fn man(&self, number: u32, watched: &Arc<Watched>) -> Option<Manned<'_>> {
        let post = self.0.get(number.checked_sub(1)? as usize)?;
        *lock(post) = Some(Arc::clone(watched));
        Some(Manned(post))
    }

    /// The requests that are being served.
    pub fn busy(&self) -> Vec<Arc<Watched>> {
        self.0
            .iter()
            .filter_map(|post| lock(post).clone())
            .collect()
    }
}

impl Drop for Manned<'_> {
    fn drop(&mut self) {
        lock(self.0).take();
    }
}
