//! What each request thread is at, for the watch.
//!
//! Written by: request threads, at the beginning and the end of a request. Read by the main thread
//! and by threads that interrupt a request. Nothing here is held while waiting for anything, so
//! that the watch can look at a thread whatever that thread waits for.

use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use os::signal::Thread;
use wire::request::Request;

use super::connection::Connection;
use crate::exchange::Exchange;
use crate::process::scoreboard;
use crate::python::interpreter::Interpreter;
use crate::python::object::{Gil, Object};
use crate::python::threads::Ident;

/// Most bytes shown of a request's URL.
const MOST: usize = 512;

/// Taken up; the application has not been called.
const WAITING: u8 = 0;
/// The application runs.
const RUNNING: u8 = 1;
/// The application has come back.
const RETURNED: u8 = 2;
/// Somebody else may run it: the thread must not.
const HANDED_BACK: u8 = 3;

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
    ident: Ident,
    stage: AtomicU8,
    /// When the application was called; 0 before that.
    called: AtomicU64,
    /// When `RequestTimeout` was first sought to be raised in it; 0 before that.
    interrupted: AtomicU64,
    /// The exception was raised, or is about to be.
    raised: AtomicU8,
    /// The watch has answered for the thread, or handed the request back.
    given_up: AtomicU8,
    /// When its thread began to load the script; 0 where it does not.
    load_began: AtomicU64,
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
            ident: Ident::current(),
            stage: AtomicU8::new(WAITING),
            called: AtomicU64::new(0),
            interrupted: AtomicU64::new(0),
            raised: AtomicU8::new(0),
            given_up: AtomicU8::new(0),
            load_began: AtomicU64::new(0),
        }
    }

    /// Its thread is about to load the script.
    pub fn note_load(&self) {
        let now = os::clock::monotonic_us();
        self.load_began.store(now.max(1), Ordering::SeqCst);
    }

    /// When its thread began to load the script, if it is still at it.
    pub fn loading_since(&self) -> Option<u64> {
        Some(self.load_began.load(Ordering::SeqCst)).filter(|&at| at != 0 && self.is_waiting())
    }

    /// The application is about to be called. False where the request was handed back meanwhile: then
    /// nothing may run.
    pub fn begin(&self) -> bool {
        self.called
            .store(os::clock::monotonic_us(), Ordering::SeqCst);
        self.stage
            .compare_exchange(WAITING, RUNNING, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// The application has come back: nothing is raised in this thread from here on.
    pub fn returned(&self, gil: Gil<'_>) {
        self.stage.store(RETURNED, Ordering::SeqCst);
        if self.raised.load(Ordering::SeqCst) != 0 {
            self.ident.spare(gil);
        }
    }

    /// The application has not been called.
    pub fn is_waiting(&self) -> bool {
        self.stage.load(Ordering::SeqCst) == WAITING
    }

    /// When the application was called, unless it has not been.
    pub fn called(&self) -> Option<u64> {
        match self.stage.load(Ordering::SeqCst) {
            RUNNING | RETURNED => Some(self.called.load(Ordering::SeqCst)),
            _ => None,
        }
    }

    /// Makes sure that the thread does not run it. False where the application has been called.
    pub fn hand_back(&self) -> bool {
        self.stage
            .compare_exchange(WAITING, HANDED_BACK, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// When it was first sought to interrupt the application.
    pub fn interrupted(&self) -> Option<u64> {
        Some(self.interrupted.load(Ordering::SeqCst)).filter(|&at| at != 0)
    }

    pub fn note_interruption(&self, now: u64) {
        self.interrupted.store(now.max(1), Ordering::SeqCst);
    }

    /// Raises `class` in the application if that still runs. To be called in its interpreter, on
    /// another thread; that `gil` is held for the whole call keeps [`Watched::returned`] from coming
    /// in between.
    pub fn interrupt(&self, gil: Gil<'_>, class: &Object) -> bool {
        if self.stage.load(Ordering::SeqCst) != RUNNING {
            return false;
        }
        self.raised.store(1, Ordering::SeqCst);
        self.ident.raise(gil, class)
    }

    pub fn ident(&self) -> Ident {
        self.ident
    }

    /// Its thread is not waited for any more.
    pub fn give_up(&self) {
        self.given_up.store(1, Ordering::SeqCst);
    }

    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::SeqCst) != 0
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
