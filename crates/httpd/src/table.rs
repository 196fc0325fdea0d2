//! APR tables: ordered, case-insensitive lists of string pairs.
//!
//! Runs in: the parent and the Apache children, on the thread that holds the request.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::pool::{self, InteriorNul, Pool};
use super::sys;

/// A table of httpd's, lent for `'p`. A value stays valid for `'p` even if its entry is replaced:
/// the strings live in the table's pool and are never written to.
#[derive(Clone, Copy)]
pub struct Table<'p> {
    raw: NonNull<sys::apr_table_t>,
    _lent: PhantomData<&'p ()>,
}

impl<'p> Table<'p> {
    /// # Safety
    /// `raw` is a live table whose pool is not cleared during `'p` and is used by this thread
    /// alone.
    pub(super) unsafe fn lent(raw: *mut sys::apr_table_t) -> Option<Table<'p>> {
        NonNull::new(raw).map(|raw| Table {
            raw,
            _lent: PhantomData,
        })
    }

    /// A new, empty table.
    pub fn new(pool: Pool<'p>) -> Table<'p> {
        // SAFETY: the pool is live for 'p and never gives NULL.
        unsafe {
            Table {
                raw: NonNull::new_unchecked(sys::apr_table_make(pool.raw(), 8)),
                _lent: PhantomData,
            }
        }
    }

    pub(super) fn raw(self) -> *mut sys::apr_table_t {
        self.raw.as_ptr()
    }

    /// The array inside the table. A pointer and not a reference: adding an entry changes it.
    fn elements(self) -> *const sys::apr_array_header_t {
        // SAFETY: a live table.
        unsafe { sys::apr_table_elts(self.raw()) }
    }

    /// The table's own pool, which may outlive the request's: a subrequest shares its parent's
    /// `headers_in`.
    fn pool(self) -> Pool<'p> {
        // SAFETY: the array of a live table is live, and the pool it was made in is never NULL.
        unsafe { Pool::lent((*self.elements()).pool).unwrap_unchecked() }
    }

    /// The value of the first entry called `key`.
    pub fn get(self, key: &CStr) -> Option<&'p [u8]> {
        // SAFETY: live table, terminated key; values are terminated and never written to.
        unsafe { pool::bytes(sys::apr_table_get(self.raw(), key.as_ptr())) }
    }

    /// Replaces every entry called `key` by one with `value`.
    pub fn set(self, key: &[u8], value: &[u8]) -> Result<(), InteriorNul> {
        let (key, value) = self.pool().pair(key, value)?;
        // SAFETY: live table; both strings live in its own pool.
        unsafe { sys::apr_table_setn(self.raw(), key, value) };
        Ok(())
    }

    /// Adds an entry, whether or not there are others of that name.
    pub fn add(self, key: &[u8], value: &[u8]) -> Result<(), InteriorNul> {
        let (key, value) = self.pool().pair(key, value)?;
        // SAFETY: live table; both strings live in its own pool.
        unsafe { sys::apr_table_addn(self.raw(), key, value) };
        Ok(())
    }

    /// Joins `value` to an existing entry with ", ", or adds it.
    pub fn merge(self, key: &[u8], value: &[u8]) -> Result<(), InteriorNul> {
        let (key, value) = self.pool().pair(key, value)?;
        // SAFETY: live table; both strings live in its own pool.
        unsafe { sys::apr_table_mergen(self.raw(), key, value) };
        Ok(())
    }

    /// Removes every entry called `key`.
    pub fn unset(self, key: &CStr) {
        // SAFETY: live table, terminated key.
        unsafe { sys::apr_table_unset(self.raw(), key.as_ptr()) };
    }

    /// Removes everything.
    pub fn clear(self) {
        // SAFETY: live table.
        unsafe { sys::apr_table_clear(self.raw()) };
    }

    /// How many entries there are.
    pub fn len(self) -> usize {
        // SAFETY: the array of a live table is live.
        usize::try_from(unsafe { (*self.elements()).nelts }).unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The entries, in the order they were added. Entries without a key or value are left out, as
    /// httpd itself does.
    pub fn iter(self) -> Entries<'p> {
        Entries {
            table: self,
            next: 0,
        }
    }
}

impl<'p> IntoIterator for Table<'p> {
    type Item = (&'p [u8], &'p [u8]);
    type IntoIter = Entries<'p>;

    fn into_iter(self) -> Entries<'p> {
        self.iter()
    }
}

/// Iterates over a table. The table may change meanwhile: each step looks its index up anew.
pub struct Entries<'p> {
    table: Table<'p>,
    next: usize,
}

impl<'p> Iterator for Entries<'p> {
    type Item = (&'p [u8], &'p [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.table.len() {
            // SAFETY: the array is live, and the index is below the number of entries it has now;
            // keys and values are terminated strings of the table's pool, or NULL.
            let pair = unsafe {
                let entries = (*self.table.elements())
                    .elts
                    .cast::<sys::apr_table_entry_t>();
                let entry = entries.add(self.next);
                (pool::bytes((*entry).key), pool::bytes((*entry).val))
            };
            self.next += 1;
            if let (Some(key), Some(value)) = pair {
                return Some((key, value));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::tests::with_pool;

    #[test]
    fn keys_ignore_case_and_order_is_kept() {
        with_pool(|pool| {
            let table = Table::new(pool);
            assert!(table.is_empty());
            table.add(b"Set-Cookie", b"a=1").unwrap();
            table.add(b"Set-Cookie", b"b=2").unwrap();
            table.set(b"Content-Type", b"text/plain").unwrap();
            table.merge(b"content-type", b"x").unwrap();
            assert_eq!(table.get(c"CONTENT-type"), Some(&b"text/plain, x"[..]));
            let keys: Vec<_> = table.iter().map(|(key, _)| key).collect();
            assert_eq!(keys, [&b"Set-Cookie"[..], b"Set-Cookie", b"Content-Type"]);
            table.unset(c"set-cookie");
            assert_eq!(table.len(), 1);
            assert_eq!(table.set(b"a\0", b"b"), Err(InteriorNul));
        });
    }
}
