//! The state of the httpd process, and the data that outlives a loading of the module.
//!
//! Runs in: mostly the Apache parent; the queries work in children too.
//!
//! httpd unloads and loads the module at every restart, so a `static` does not survive one. The
//! connection to the supervisor is stored in the process pool instead ([`keep_companion`]).

use std::ffi::{c_int, c_void, CStr, OsString};
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::panic_wall;
use super::pool::{self, Pool};
use super::sys;

/// What httpd's parent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Reads the configuration for the first time, only to check it.
    Trial,
    /// Reads the configuration that it will serve.
    Configuring,
    /// Destroys a configuration, before each new reading.
    Discarding,
    /// Serves requests.
    Serving,
    /// Exits.
    Exiting,
    /// None of these.
    Other,
}

/// Why the process was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To serve requests.
    Serve,
    /// To check the configuration (`-t`).
    CheckConfiguration,
    /// To show the configuration (`-S`, `-M` and so on).
    ShowConfiguration,
    /// Not yet known.
    Unknown,
}

/// What httpd's parent is doing.
pub fn state() -> State {
    // SAFETY: a query without arguments that point anywhere.
    match unsafe { sys::ap_state_query(sys::AP_SQ_MAIN_STATE as c_int) } as u32 {
        sys::AP_SQ_MS_INITIAL_STARTUP | sys::AP_SQ_MS_CREATE_PRE_CONFIG => State::Trial,
        sys::AP_SQ_MS_DESTROY_CONFIG => State::Discarding,
        sys::AP_SQ_MS_CREATE_CONFIG => State::Configuring,
        sys::AP_SQ_MS_RUN_MPM => State::Serving,
        sys::AP_SQ_MS_EXITING => State::Exiting,
        _ => State::Other,
    }
}

/// Why the process was started.
pub fn purpose() -> Purpose {
    // SAFETY: as in `state`.
    match unsafe { sys::ap_state_query(sys::AP_SQ_RUN_MODE as c_int) } as u32 {
        sys::AP_SQ_RM_NORMAL => Purpose::Serve,
        sys::AP_SQ_RM_CONFIG_TEST => Purpose::CheckConfiguration,
        sys::AP_SQ_RM_CONFIG_DUMP => Purpose::ShowConfiguration,
        _ => Purpose::Unknown,
    }
}

/// How httpd spreads requests over processes and threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mpm {
    /// Its name, such as `event`.
    pub name: &'static [u8],
    /// Maximum number of child processes.
    pub max_processes: u32,
    /// Request threads of each child; 0 if the MPM has no threads.
    pub max_threads: u32,
    /// Whether a connection occupies no thread between two requests.
    pub is_async: bool,
}

/// The MPM in use. Known after the configuration was read.
pub fn mpm() -> Mpm {
    let ask = |what: u32| {
        let mut answer: c_int = 0;
        // SAFETY: writes one integer through a valid pointer.
        let status = unsafe { sys::ap_mpm_query(what as c_int, &mut answer) };
        if status == sys::SUCCESS {
            u32::try_from(answer).unwrap_or(0)
        } else {
            0
        }
    };
    Mpm {
        // SAFETY: a name compiled into the MPM, which stays loaded as long as its configuration.
        name: unsafe { pool::bytes(sys::ap_show_mpm()).unwrap_or_default() },
        max_processes: ask(sys::AP_MPMQ_MAX_DAEMONS),
        max_threads: ask(sys::AP_MPMQ_MAX_THREADS),
        is_async: ask(sys::AP_MPMQ_IS_ASYNC) != 0,
    }
}

/// Whether httpd runs as a single process (`-X`): parent and child are one.
pub fn is_single() -> bool {
    // `-X` is `-DDEBUG`, which the MPMs take for both `-DONE_PROCESS` and `-DFOREGROUND`.
    [c"ONE_PROCESS", c"DEBUG"].iter().any(|name| {
        // SAFETY: reads httpd's table of `-D` names; the name is terminated.
        unsafe { sys::ap_exists_config_define(name.as_ptr()) != 0 }
    })
}

/// Version of httpd: major, minor, patch.
pub fn version() -> (u32, u32, u32) {
    let mut version = sys::ap_version_t {
        major: 0,
        minor: 0,
        patch: 0,
        add_string: ptr::null(),
    };
    // SAFETY: fills a structure of ours.
    unsafe { sys::ap_get_server_revision(&mut version) };
    let number = |part| u32::try_from(part).unwrap_or(0);
    (
        number(version.major),
        number(version.minor),
        number(version.patch),
    )
}

/// When httpd was compiled, in its own words.
pub fn build_date() -> &'static [u8] {
    // SAFETY: a string compiled into httpd.
    unsafe { pool::bytes(sys::ap_get_server_built()).unwrap_or_default() }
}

/// Adds a word such as `mod_wsgi/6.1.1` to the server's version string. During `post_config` only.
pub fn add_version_component(pool: Pool<'_>, component: &str) {
    if let Ok(component) = pool.text(component.as_bytes()) {
        // SAFETY: a live pool and a terminated string, which httpd copies.
        unsafe { sys::ap_add_version_component(pool.raw(), component.as_ptr()) };
    }
}

/// The account Apache's children run as: `User` and `Group`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// `User` and `Group`, as read so far.
pub fn children_identity() -> Identity {
    // SAFETY: plain data of httpd's, changed only while the configuration is read, by this thread.
    unsafe {
        let config = ptr::addr_of!(sys::ap_unixd_config).read();
        Identity {
            uid: config.user_id,
            gid: config.group_id,
        }
    }
}

/// A process of ours that outlives this loading of the module: its number and its socket.
#[derive(Debug)]
pub struct Companion {
    /// Its number, greater than 0.
    pub pid: u32,
    /// Our end of the socket to it. This is a duplicate, so it stays open as long as this value
    /// lives, even if the stored end is replaced or closed.
    pub control: OwnedFd,
}

/// The key in the process pool. It defines the meaning of the two integers for any version of the
/// module that is loaded next: if you change their meaning, change the key.
const COMPANION: &CStr = c"mod_wsgi: supervisor 1";

/// No companion.
const NONE: [i64; 2] = [0, -1];

/// Locked around each use of the process pool or of httpd's list of watched processes: neither is
/// synchronised. It is a second safeguard only, since the parent has one thread.
static LOCK: Mutex<()> = Mutex::new(());

fn lock() -> MutexGuard<'static, ()> {
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pool of the process: older than every configuration, and not cleared before its end.
fn process_pool() -> Pool<'static> {
    // SAFETY: httpd sets it first of all and never changes it; the parent is a single thread, and a
    // child uses it before it has made others.
    unsafe { Pool::lent(ptr::addr_of!(sys::ap_pglobal).read()).unwrap_unchecked() }
}

fn load_companion() -> Option<(u32, RawFd)> {
    let mut found: *mut c_void = ptr::null_mut();
    // SAFETY: the live pool of the process and a terminated name; writes one pointer. Only
    // `store_companion` stores under it, always two integers of that pool.
    let [pid, control] = unsafe {
        sys::apr_pool_userdata_get(&mut found, COMPANION.as_ptr(), process_pool().raw());
        if found.is_null() {
            return None;
        }
        found.cast::<[i64; 2]>().read()
    };
    let (pid, control) = (u32::try_from(pid).ok()?, RawFd::try_from(control).ok()?);
    (pid > 0 && control >= 0).then_some((pid, control))
}

/// The companion that [`keep_companion`] stored, in this loading of the module or an earlier one.
pub fn companion() -> Option<Companion> {
    let _locked = lock();
    let (pid, control) = load_companion()?;
    // SAFETY: handed over by `keep_companion`, hence open; borrowed for this line only.
    let control = unsafe { BorrowedFd::borrow_raw(control) }
        .try_clone_to_owned()
        .ok()?;
    Some(Companion { pid, control })
}

/// Stores a companion for the life of the process and replaces the previous one.
pub fn keep_companion(pid: u32, control: OwnedFd) {
    let _locked = lock();
    close_companion();
    store_companion([i64::from(pid), i64::from(control.into_raw_fd())]);
}

/// Closes the socket to the companion, in this process only. An Apache child does this first: a
/// copy of the parent's end in the child would hide the parent's death from the companion.
pub fn forget_companion() {
    let _locked = lock();
    close_companion();
}

fn close_companion() {
    if let Some((_, control)) = load_companion() {
        store_companion(NONE);
        // SAFETY: owned by the record, which has just lost it.
        drop(unsafe { OwnedFd::from_raw_fd(control) });
    }
}

fn store_companion(values: [i64; 2]) {
    let pool = process_pool();
    let mut slot: *mut c_void = ptr::null_mut();
    // SAFETY: the live pool of the process, a terminated name which APR copies, and memory of the
    // same pool. No cleanup: it would be code of an image that is gone by then.
    unsafe {
        sys::apr_pool_userdata_get(&mut slot, COMPANION.as_ptr(), pool.raw());
        if slot.is_null() {
            slot = sys::apr_palloc(pool.raw(), size_of::<[i64; 2]>() as _);
            sys::apr_pool_userdata_set(slot, COMPANION.as_ptr(), None, pool.raw());
        }
        slot.cast::<[i64; 2]>().write(values);
    }
}

/// The name of the httpd program, as it appears in the system log.
pub fn short_name() -> &'static [u8] {
    // SAFETY: httpd sets it before it reads any configuration, to a string that lives as long as
    // the process.
    unsafe { pool::bytes(sys::ap_server_argv0) }.unwrap_or(b"httpd")
}

/// The file this module was loaded from, as `LoadModule` named it.
pub fn module_file() -> Option<PathBuf> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: fills a structure of ours for an address inside this image; the name it gives is a
    // terminated string that lives as long as the image is loaded.
    let name = unsafe {
        if libc::dladdr(ptr::addr_of!(sys::wsgi_module).cast(), info.as_mut_ptr()) == 0 {
            return None;
        }
        pool::bytes(info.assume_init().dli_fname)?
    };
    Some(PathBuf::from(OsString::from_vec(name.to_vec())))
}

/// What happened to a watched process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It ended, with this exit status or by the signal of this number: httpd does not say which.
    Ended(i32),
    /// It ended, and its status is unknown.
    Lost,
    /// It still runs, but httpd kills its children at once: at `stop` and `restart`.
    Reclaimed,
}

/// Returns the process to watch next, if any.
type OnEnd = Box<dyn FnMut(Fate) -> Option<u32> + Send>;

struct Watch {
    process: sys::apr_proc_t,
    pool: *mut sys::apr_pool_t,
    on_end: OnEnd,
}

// SAFETY: what it points to lives in the same pool as the record itself.
unsafe impl Send for Watch {}

/// Makes httpd's parent reap process `pid` when it ends. httpd calls `on_end` within about a second
/// of the process's end, or when it ends its children without grace. The process that `on_end`
/// returns is watched next. The watch ends with `pool`, without a call; the process keeps running.
pub fn watch(pool: Pool<'_>, pid: u32, on_end: impl FnMut(Fate) -> Option<u32> + Send + 'static) {
    // SAFETY: a plain C structure for which all-zero means "no pipes, no pid".
    let process: sys::apr_proc_t = unsafe { std::mem::zeroed() };
    let watch: *mut Watch = pool.own(Watch {
        process,
        pool: pool.raw(),
        on_end: Box::new(on_end),
    });
    let _locked = lock();
    // SAFETY: freshly allocated, and no other reference exists.
    unsafe { register(watch, pid) };
}

/// # Safety
/// `watch` is in its pool, not registered, and no reference to it exists.
unsafe fn register(watch: *mut Watch, pid: u32) {
    let Ok(pid) = sys::pid_t::try_from(pid) else {
        return;
    };
    // SAFETY: the record lives in the pool with which the registration ends: cleanups run last in
    // first out, and this registers after the record was made.
    unsafe {
        (*watch).process.pid = pid;
        sys::apr_proc_other_child_register(
            ptr::addr_of_mut!((*watch).process),
            Some(watched),
            watch.cast(),
            ptr::null_mut(),
            (*watch).pool,
        );
    }
}

/// Whether the MPM has left its main loop.
fn is_stopping() -> bool {
    let mut state: c_int = 0;
    // SAFETY: writes one integer.
    let known = unsafe { sys::ap_mpm_query(sys::AP_MPMQ_MPM_STATE as c_int, &mut state) };
    known == 0 && state == sys::AP_MPMQ_STOPPING as c_int
}

unsafe extern "C" fn watched(reason: c_int, watch: *mut c_void, status: c_int) {
    panic_wall::enter("the watch over the supervisor", || {
        let fate = match reason as u32 {
            sys::APR_OC_REASON_DEATH => Fate::Ended(status),
            sys::APR_OC_REASON_LOST => Fate::Lost,
            sys::APR_OC_REASON_RESTART | sys::APR_OC_REASON_RUNNING if is_stopping() => {
                Fate::Reclaimed
            }
            // The end of the watch, a health check: it goes on.
            _ => return,
        };
        let watch = watch.cast::<Watch>();
        // SAFETY: the record registered by `register`, in the thread that owns httpd's list. APR's
        // contract: after a death the record is to be unregistered here, which calls us again with
        // the reason above and touches nothing.
        unsafe {
            sys::apr_proc_other_child_unregister(watch.cast());
            if let Some(next) = ((*watch).on_end)(fate) {
                register(watch, next);
            }
        }
    });
}

/// Sends a signal to a child process that was not reaped. Does nothing if the process has ended.
pub fn signal_child(pid: u32, number: i32) {
    let Ok(pid @ 1..) = sys::pid_t::try_from(pid) else {
        return;
    };
    // SAFETY: touches no memory. Greater than 0, so it is no group; a child's number is not given
    // to another process before it is reaped, which this thread does.
    unsafe { libc::kill(pid, number) };
}

/// Whether this process has served an earlier configuration.
pub fn is_restart() -> bool {
    // SAFETY: as in `state`.
    unsafe { sys::ap_state_query(sys::AP_SQ_CONFIG_GEN as c_int) > 1 }
}

/// Reaps child process `pid` once it has ended, waiting for `limit` at most. Used at the end of the
/// parent, when httpd no longer reaps. Returns whether the process has ended.
pub fn reap(pid: u32, limit: Duration) -> bool {
    const STEP: Duration = Duration::from_millis(5);
    let Ok(pid @ 1..) = sys::pid_t::try_from(pid) else {
        return false;
    };
    // SAFETY: a plain C structure for which all-zero means "no pipes, no pid".
    let mut process: sys::apr_proc_t = unsafe { std::mem::zeroed() };
    process.pid = pid;
    let mut waited = Duration::ZERO;
    loop {
        // SAFETY: a structure of ours, with the number of a child of this process.
        let status = unsafe {
            sys::apr_proc_wait(
                &mut process,
                ptr::null_mut(),
                ptr::null_mut(),
                sys::APR_NOWAIT,
            )
        };
        if status != sys::APR_CHILD_NOTDONE as sys::apr_status_t {
            return true;
        }
        if waited >= limit {
            return false;
        }
        std::thread::sleep(STEP);
        waited += STEP;
    }
}
