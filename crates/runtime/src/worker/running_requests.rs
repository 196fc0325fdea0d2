//! The request that each request thread serves.
//!
//! Written by: request threads, at the beginning and the end of a request. Read by the main thread
//! and by threads that interrupt a request. No lock here is held while waiting for anything, so
//! that the main thread can always look at a request thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use os::signal::Thread;
use wire::request::Request;

use super::connection::Connection;
use crate::exchange::Exchange;
use crate::process::scoreboard;
use crate::wsgi::progress::Progress;
use crate::wsgi::state::Interpreter;

/// Most bytes of a request's URL that are shown.
const MOST: usize = 512;

/// A request that a thread serves. Times are microseconds of the monotonic clock.
pub struct RunningRequest {
    /// The thread that serves it.
    pub thread: Thread,
    pub interpreter: &'static Interpreter,
    pub exchange: Arc<Exchange>,
    pub connection: Arc<Connection>,
    /// Method and URL.
    pub line: String,
    pub script: String,
    /// When the thread took it.
    pub since: u64,
    /// How long it had waited for a thread.
    pub queue_time: u64,
    pub progress: Progress,
}

impl RunningRequest {
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

/// A place for each request thread.
pub struct RunningRequests(Vec<Mutex<Option<Arc<RunningRequest>>>>);

/// A request that is registered, as long as this lives.
pub struct Registration<'a>(MutexOf<'a>);

type MutexOf<'a> = &'a Mutex<Option<Arc<RunningRequest>>>;

fn lock(place: MutexOf<'_>) -> MutexGuard<'_, Option<Arc<RunningRequest>>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RunningRequests {
    pub fn new(threads: u32) -> Self {
        Self((0..threads).map(|_| Mutex::default()).collect())
    }

    /// Thread `number`, counted from 1, serves the request.
    pub fn register(&self, number: u32, request: &Arc<RunningRequest>) -> Option<Registration<'_>> {
        let place = self.0.get(number.checked_sub(1)? as usize)?;
        *lock(place) = Some(Arc::clone(request));
        Some(Registration(place))
    }

    /// The requests that are being served.
    pub fn all(&self) -> Vec<Arc<RunningRequest>> {
        self.0
            .iter()
            .filter_map(|place| lock(place).clone())
            .collect()
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        lock(self.0).take();
    }
}
