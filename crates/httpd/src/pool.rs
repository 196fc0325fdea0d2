//! APR pools as lifetimes.
//!
//! Runs in: the parent and the Apache children, on the thread httpd called us on. A pool is not
//! synchronised; a view of one is neither `Send` nor `Sync`.

use std::ffi::{c_char, c_void, CStr};
use std::marker::PhantomData;
use std::mem::{align_of, needs_drop, size_of};
use std::ptr::{self, NonNull};
use std::slice;

use super::panic_wall::{self, AprStatus};
use super::sys;

/// A pool that httpd owns. Data allocated in it lives as long as the pool, `'p`.
///
/// Only pools httpd made are ever wrapped. They carry httpd's abort function, so an allocation
/// either succeeds or ends the process; none returns NULL.
#[derive(Clone, Copy)]
pub struct Pool<'p> {
    raw: NonNull<sys::apr_pool_t>,
    _lent: PhantomData<&'p ()>,
}

/// The text contains a NUL byte, which no C string can carry. Cutting the text at the NUL would let
/// an application smuggle data, so it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InteriorNul;

impl<'p> Pool<'p> {
    /// # Safety
    /// `raw` is a live pool of httpd's that is not cleared or destroyed during `'p`, and is used by
    /// this thread alone during that time.
    pub(super) unsafe fn lent(raw: *mut sys::apr_pool_t) -> Option<Pool<'p>> {
        NonNull::new(raw).map(|raw| Pool {
            raw,
            _lent: PhantomData,
        })
    }

    pub(super) fn raw(self) -> *mut sys::apr_pool_t {
        self.raw.as_ptr()
    }

    /// Runs `body` with a subpool that is destroyed when `body` returns. For temporary data that
    /// would otherwise accumulate in this pool.
    pub fn with_temporary<R>(self, body: impl FnOnce(Pool<'_>) -> R) -> R {
        struct Destroy(NonNull<sys::apr_pool_t>);
        impl Drop for Destroy {
            fn drop(&mut self) {
                // SAFETY: made below, and destroyed here alone, when no view of it is left.
                unsafe { sys::apr_pool_destroy(self.0.as_ptr()) };
            }
        }
        let mut raw = ptr::null_mut();
        // SAFETY: the pool is live; the new one takes its abort function, so it is never NULL, and
        // its allocator, which is this thread's too.
        let raw = unsafe {
            sys::apr_pool_create_ex(&mut raw, self.raw(), None, ptr::null_mut());
            NonNull::new_unchecked(raw)
        };
        let temporary = Destroy(raw);
        body(Pool {
            raw: temporary.0,
            _lent: PhantomData,
        })
    }

    /// Moves `value` into the pool. Destructors run when the pool is cleared, in reverse order.
    /// `'static`, because a destructor could otherwise see a neighbour that is already dropped;
    /// `Send`, because httpd may clear a pool on another thread than the one that filled it (the
    /// event MPM clears a connection's pool on the thread that closes it).
    pub fn own<T: Send + 'static>(self, value: T) -> &'p mut T {
        const { assert!(align_of::<T>() <= 8, "APR aligns its blocks to 8 bytes") };
        // SAFETY: the pool is live for 'p; size_of is non-zero after `max`, and httpd's pools end
        // the process rather than return NULL.
        let slot = unsafe { sys::apr_palloc(self.raw(), size_of::<T>().max(1) as _) }.cast::<T>();
        // SAFETY: the block is fresh, large enough and aligned (asserted above).
        unsafe { ptr::write(slot, value) };
        if needs_drop::<T>() {
            // SAFETY: `slot` stays valid until the pool's memory goes, which is after its cleanups.
            unsafe {
                sys::apr_pool_cleanup_register(
                    self.raw(),
                    slot.cast::<c_void>(),
                    Some(drop_in_pool::<T>),
                    Some(sys::apr_pool_cleanup_null),
                );
            }
        }
        // SAFETY: written above, and no other code has the pointer until the cleanup runs at the
        // end of 'p.
        unsafe { &mut *slot }
    }

    /// Runs `action` when the pool is cleared, in the process that clears it; not in a forked child
    /// before its exec.
    pub fn at_end(self, action: impl FnOnce() + Send + 'static) {
        self.own(AtEnd(Some(action)));
    }

    /// A copy of `text` as a C string.
    pub fn text(self, text: &[u8]) -> Result<&'p CStr, InteriorNul> {
        if text.contains(&0) {
            return Err(InteriorNul);
        }
        // SAFETY: the pool is live; apr_pstrmemdup copies exactly `len` bytes and terminates them.
        let copy = unsafe {
            sys::apr_pstrmemdup(self.raw(), text.as_ptr().cast::<c_char>(), text.len() as _)
        };
        // SAFETY: just made, terminated, lives as long as the pool; nothing writes to it.
        Ok(unsafe { CStr::from_ptr(copy) })
    }

    /// Copies of `key` and `value` as C strings, in one block: a table's entry.
    pub(super) fn pair(
        self,
        key: &[u8],
        value: &[u8],
    ) -> Result<(*const c_char, *const c_char), InteriorNul> {
        if key.contains(&0) || value.contains(&0) {
            return Err(InteriorNul);
        }
        let at = key.len() + 1;
        // SAFETY: the pool is live and gives a block of so many bytes, never NULL. Both copies and
        // their terminators lie in it, behind each other.
        unsafe {
            let block = sys::apr_palloc(self.raw(), (at + value.len() + 1) as _).cast::<u8>();
            block.copy_from_nonoverlapping(key.as_ptr(), key.len());
            block.add(key.len()).write(0);
            let second = block.add(at);
            second.copy_from_nonoverlapping(value.as_ptr(), value.len());
            second.add(value.len()).write(0);
            Ok((block.cast(), second.cast()))
        }
    }

    /// A copy of `bytes`.
    pub fn bytes(self, bytes: &[u8]) -> &'p [u8] {
        if bytes.is_empty() {
            return &[];
        }
        // SAFETY: the pool is live; apr_pmemdup copies exactly `len` bytes.
        let copy = unsafe {
            sys::apr_pmemdup(
                self.raw(),
                bytes.as_ptr().cast::<c_void>(),
                bytes.len() as _,
            )
        };
        // SAFETY: just made and initialised, lives as long as the pool; nothing writes to it.
        unsafe { slice::from_raw_parts(copy.cast::<u8>(), bytes.len()) }
    }
}

struct AtEnd<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        if let Some(action) = self.0.take() {
            action();
        }
    }
}

unsafe extern "C" fn drop_in_pool<T>(slot: *mut c_void) -> sys::apr_status_t {
    let cleared = panic_wall::enter("the clearing of a pool", || {
        // SAFETY: registered by `own` with a pointer to an initialised T; APR runs it once.
        unsafe { ptr::drop_in_place(slot.cast::<T>()) }
        AprStatus(sys::SUCCESS)
    });
    cleared.0
}

/// The bytes of a C string that httpd owns, or `None` for NULL.
///
/// # Safety
/// `text` is NULL or a terminated string that is neither freed nor written to during `'a`.
pub(super) unsafe fn bytes<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: not NULL here; the rest is the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Runs a test with its own pool, which is destroyed at the end.
    pub(crate) fn with_pool(test: impl FnOnce(Pool<'_>)) {
        // Tests run in parallel threads, and APR counts an initialisation before it is complete.
        static BEGUN: std::sync::Once = std::sync::Once::new();
        BEGUN.call_once(|| {
            // SAFETY: touches nothing of ours, and is called once.
            unsafe { sys::apr_initialize() };
        });
        let mut raw = ptr::null_mut();
        // SAFETY: APR has begun; `raw` receives a fresh pool, which is destroyed after the view is
        // gone.
        unsafe {
            sys::apr_pool_create_ex(&mut raw, ptr::null_mut(), None, ptr::null_mut());
            test(Pool::lent(raw).expect("a fresh pool"));
            sys::apr_pool_destroy(raw);
        }
    }

    #[test]
    fn what_a_pool_owns_is_dropped_with_it_last_in_first_out() {
        let order = Arc::new(Mutex::new(String::new()));
        with_pool(|pool| {
            for name in ["a", "b"] {
                let order = order.clone();
                pool.at_end(move || order.lock().unwrap().push_str(name));
            }
            assert_eq!(*pool.own(5_u64), 5);
        });
        assert_eq!(*order.lock().unwrap(), "ba");
    }

    #[test]
    fn what_needs_no_drop_costs_a_pool_its_size_alone() {
        with_pool(|pool| {
            let places = [0_u64, 1].map(|value| ptr::from_mut(pool.own(value)) as usize);
            assert_eq!(
                places[1] - places[0],
                size_of::<u64>(),
                "a cleanup lies between them"
            );
        });
    }

    #[test]
    fn a_temporary_pool_is_gone_when_its_body_returns() {
        let order = Arc::new(Mutex::new(String::new()));
        with_pool(|pool| {
            let inner = order.clone();
            let five = pool.with_temporary(|temporary| {
                let own = inner.clone();
                temporary.at_end(move || own.lock().unwrap().push_str("temporary "));
                5
            });
            order.lock().unwrap().push_str("after");
            assert_eq!(five, 5);
        });
        assert_eq!(*order.lock().unwrap(), "temporary after");
    }

    #[test]
    fn a_nul_byte_is_refused_and_not_cut_at() {
        with_pool(|pool| {
            assert_eq!(pool.text(b"a\0b"), Err(InteriorNul));
            assert_eq!(pool.text(b"ab").map(CStr::to_bytes), Ok(&b"ab"[..]));
            assert_eq!(pool.bytes(b"a\0b"), b"a\0b");
        });
    }
}
