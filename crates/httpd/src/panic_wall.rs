//! The panic boundary between C and this crate.
//!
//! Runs in: every process and thread in which httpd or APR calls the module: the parent and the
//! Apache children. An unwind into C aborts the process and loses every request of the child, so
//! each `extern "C"` function here is one call of [`enter`].

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::panic::{catch_unwind, AssertUnwindSafe, PanicHookInfo};
use std::ptr;

use wire::log_id::MODULE_DEFECT;

use super::log::{Log, MainLog};
use super::sys;

/// What C receives if the body panicked. Only types with such a value can be returned to C.
pub(super) trait Fallback {
    /// The value that means "failed; the failure was logged".
    const ON_PANIC: Self;
}

impl Fallback for () {
    const ON_PANIC: Self = ();
}

/// Hooks: an internal server error; start-up hooks refuse to start.
impl Fallback for c_int {
    const ON_PANIC: Self = 500;
}

/// APR and httpd's filters: an APR status. It is no HTTP status, though C has one type for both.
pub(super) struct AprStatus(pub(super) sys::apr_status_t);

impl Fallback for AprStatus {
    const ON_PANIC: Self = AprStatus(sys::APR_EGENERAL as sys::apr_status_t);
}

/// Configuration records: NULL, which every reader must handle.
impl Fallback for *mut c_void {
    const ON_PANIC: Self = ptr::null_mut();
}

/// Directive setters: a configuration error.
impl Fallback for *const c_char {
    const ON_PANIC: Self =
        c"mod_wsgi failed while reading this directive; the error log says where".as_ptr();
}

thread_local! {
    /// The boundary this thread runs inside, for the panic hook. It has no destructor, because a
    /// thread-local destructor would pin the module's file in the parent and preserve its statics
    /// over a restart.
    static INSIDE: Cell<&'static str> = const { Cell::new("a thread of its own") };
}

/// The only entry from C into this crate. The error log shows `name` if `body` panics.
pub(super) fn enter<R: Fallback>(name: &'static str, body: impl FnOnce() -> R) -> R {
    let outer = INSIDE.replace(name);
    // The views passed to `body` are copies of pointers to data that C owns and keeps consistent,
    // so an unwind leaves no half-changed data of the module visible.
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or(R::ON_PANIC);
    INSIDE.set(outer);
    result
}

/// Makes a panic one line of the error log instead of a dump on stderr. Called once each time the
/// module is loaded; the previous hook is gone with the previous image.
pub(super) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        MainLog.critical(describe(INSIDE.get(), panic))
    }));
}

fn describe(inside: &str, panic: &PanicHookInfo<'_>) -> String {
    let what = panic
        .payload()
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.payload().downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    match panic.location() {
        Some(at) => format!(
            "{MODULE_DEFECT}: a defect of mod_wsgi stopped {inside} at {}:{}: {what}. What was being done \
             has failed, the process goes on; please report this line.",
            at.file(),
            at.line()
        ),
        None => format!("{MODULE_DEFECT}: a defect of mod_wsgi stopped {inside}: {what}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_fallback_of_its_type() {
        std::panic::set_hook(Box::new(|_| {}));
        assert_eq!(enter("a hook", || -> c_int { panic!("no") }), 500);
        let failed = enter("a filter", || -> AprStatus { panic!("no") }).0;
        assert_eq!(failed, sys::APR_EGENERAL as sys::apr_status_t);
        assert!(enter("a config", || -> *mut c_void { panic!("no") }).is_null());
        assert_eq!(enter("a hook", || 7), 7);
        assert_eq!(INSIDE.get(), "a thread of its own");
    }
}
