//! The keep-alive wait: a short wait for the next request of a client's connection.
//!
//! Runs in: the Apache children, on the thread that has served a request. After a request, httpd
//! checks without blocking whether the client has pipelined its next request. If not, the event MPM
//! hands the connection to its listener thread, which later hands it to another thread. That costs
//! a sixth of a small request. A client that has a next request, such as a proxy, sends it within
//! that time. So this input filter lets httpd's check wait up to [`KEEP_ALIVE_WAIT`].
//!
//! The filter is not registered with httpd. A registered filter has a name, and `SetInputFilter` in
//! any configuration or `.htaccess` could add it where it has no context.
//!
//! The cost is bounded. Only a share of a child's threads waits at a time. If the client of a
//! connection does not send its next request in time, the connection backs off: the wait is skipped
//! for more and more requests. If too many threads want to wait, no thread waits for [`CROWDED`]:
//! with many clients the listener finds several requests per poll, which costs less than one
//! wake-up each.

use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use os::clock;
use os::poll::{poll_uninterrupted, Wanted};

use super::connection::ClientConnection;
use super::panic_wall::{self, AprStatus};
use super::process;
use super::sys;

/// Upper bound of one wait. Longer than a round trip in a local network, and longer than a tick of
/// most kernels: a shorter timer is programmed in hardware at each wait, which costs a virtual
/// machine two microseconds.
const KEEP_ALIVE_WAIT: Duration = Duration::from_millis(5);
/// One thread in this many may wait.
const SHARE: usize = 4;
/// How long no thread waits after too many threads wanted to wait, in milliseconds.
const CROWDED: u64 = 100;
/// Upper bound of the back-off, in requests.
const MAX_BACKOFF: u32 = 64;

/// The filter's registration record, which httpd reads.
#[repr(transparent)]
struct Filter(sys::ap_filter_rec_t);

// SAFETY: no code changes it; what it points to is static.
unsafe impl Sync for Filter {}

impl Filter {
    /// The mutable pointer that httpd's type demands. httpd only reads through it.
    fn raw(&self) -> *mut sys::ap_filter_rec_t {
        ptr::from_ref(&self.0).cast_mut()
    }
}

static FILTER: Filter = Filter(sys::ap_filter_rec_t {
    // httpd uses the name in its trace messages only.
    name: c"WSGI_KEEP_ALIVE_WAIT".as_ptr(),
    filter_func: sys::ap_filter_func {
        in_func: Some(look),
    },
    filter_init_func: None,
    next: ptr::null_mut(),
    providers: ptr::null_mut(),
    ftype: sys::AP_FTYPE_CONNECTION,
    debug: 0,
    proto_flags: 0,
});
/// Threads of this child that may wait at once. 0 if the MPM gives each connection its own thread.
static MOST: AtomicUsize = AtomicUsize::new(0);
/// Threads that wait now.
static WAITING: AtomicUsize = AtomicUsize::new(0);
/// Until when no thread waits, in milliseconds of the monotonic clock.
static CROWDED_UNTIL: AtomicU64 = AtomicU64::new(0);

/// The back-off state of a connection.
#[derive(Debug, Default, PartialEq, Eq)]
struct Habit {
    /// A request was served, and httpd has not yet checked for the next one.
    served: bool,
    /// Requests still to pass without a wait.
    pause: u32,
    /// The value that `pause` was last set to; an unsuccessful wait doubles it.
    next_pause: u32,
}

impl Habit {
    /// httpd checks for the next request. Returns whether this check may wait.
    fn is_due(&mut self) -> bool {
        if !std::mem::take(&mut self.served) {
            return false;
        }
        let passes = self.pause > 0;
        self.pause = self.pause.saturating_sub(1);
        !passes
    }

    /// Records whether the client's next request came during a wait.
    fn learn(&mut self, came: bool) {
        self.next_pause = match came {
            true => 0,
            false => (2 * self.next_pause + 1).min(MAX_BACKOFF),
        };
        self.pause = self.next_pause;
    }
}

/// Sets the bound on waiting threads when a child starts.
pub(super) fn begin_child() {
    let mpm = process::mpm();
    let most = match mpm.is_async {
        true => (mpm.max_threads as usize).div_ceil(SHARE),
        false => 0,
    };
    MOST.store(most, Ordering::Relaxed);
}

/// Allows a wait after the response to a request of `connection` was sent.
pub fn expect(connection: ClientConnection<'_>) {
    let filter = FILTER.raw();
    if MOST.load(Ordering::Relaxed) == 0
        || connection.is_secondary()
        || !connection.may_be_kept_alive()
    {
        return;
    }
    // SAFETY: a live connection of this thread, whose filters live as long as it. A filter of ours
    // has a habit, which is in the connection's pool and used by the connection's thread alone.
    unsafe {
        let mut next = (*connection.raw()).input_filters;
        while !next.is_null() && (*next).frec != filter {
            next = (*next).next;
        }
        let habit = if next.is_null() {
            let habit = connection.pool().own(Habit::default());
            let context = ptr::from_mut(habit).cast();
            sys::ap_add_input_filter_handle(filter, context, ptr::null_mut(), connection.raw());
            habit
        } else {
            &mut *(*next).ctx.cast::<Habit>()
        };
        habit.served = true;
    }
}

/// The filter function: repeats httpd's non-blocking check after a wait.
unsafe extern "C" fn look(
    filter: *mut sys::ap_filter_t,
    brigade: *mut sys::apr_bucket_brigade,
    mode: sys::ap_input_mode_t,
    block: sys::apr_read_type_e,
    bytes: sys::apr_off_t,
) -> sys::apr_status_t {
    let looked = panic_wall::enter("the look for the next request", || {
        // SAFETY: the arguments of a filter that `expect` has added, valid for its call; they are
        // passed to the next filter unchanged.
        unsafe {
            let ask = || sys::ap_get_brigade((*filter).next, brigade, mode, block, bytes);
            let status = ask();
            let is_look = mode == sys::AP_MODE_SPECULATIVE && block == sys::APR_NONBLOCK_READ;
            let habit = &mut *(*filter).ctx.cast::<Habit>();
            if !is_look || !habit.is_due() {
                return AprStatus(status);
            }
            let is_nothing = status == libc::EAGAIN
                || status == sys::SUCCESS && sys::shim_brigade_first(brigade).is_null();
            if !is_nothing {
                if status == sys::SUCCESS {
                    habit.learn(true);
                }
                return AprStatus(status);
            }
            let Some(came) = ClientConnection::lent((*filter).c).and_then(wait) else {
                return AprStatus(status);
            };
            habit.learn(came);
            AprStatus(match came {
                true => ask(),
                false => status,
            })
        }
    });
    looked.0
}

/// Waits until the socket is readable. Returns `None` if no thread can be spared for the wait.
fn wait(connection: ClientConnection<'_>) -> Option<bool> {
    let socket = connection.socket()?;
    let now = clock::monotonic_ms();
    if now < CROWDED_UNTIL.load(Ordering::Relaxed) {
        return None;
    }
    let place = WAITING.fetch_add(1, Ordering::Relaxed);
    let came = (place < MOST.load(Ordering::Relaxed)).then(|| {
        let mut wanted = [Wanted::readable(socket)];
        matches!(poll_uninterrupted(&mut wanted, Some(KEEP_ALIVE_WAIT)), Ok(ready) if ready > 0)
    });
    WAITING.fetch_sub(1, Ordering::Relaxed);
    if came.is_none() {
        CROWDED_UNTIL.store(now + CROWDED, Ordering::Relaxed);
    }
    came
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The indexes of those of `served` requests after which the filter waits, for a client that
    /// never sends its next request in time.
    fn waits(habit: &mut Habit, served: usize) -> Vec<usize> {
        (0..served)
            .filter(|_| {
                habit.served = true;
                let due = habit.is_due();
                if due {
                    habit.learn(false);
                }
                due
            })
            .collect()
    }

    #[test]
    fn a_client_that_does_not_come_is_waited_for_less_and_less_often() {
        let mut habit = Habit::default();
        let all = waits(&mut habit, 400);
        assert_eq!(all[..6], [0, 2, 6, 14, 30, 62]);
        assert_eq!(all[6..9], [126, 191, 256]);
    }

    #[test]
    fn one_that_comes_is_waited_for_each_time() {
        let mut habit = Habit::default();
        waits(&mut habit, 100);
        habit.pause = 0;
        for _ in 0..3 {
            habit.served = true;
            assert!(habit.is_due());
            habit.learn(true);
        }
        // A check that does not follow a request never waits.
        assert!(!habit.is_due());
    }
}
