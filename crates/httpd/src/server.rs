//! A server of the configuration: the main server or a virtual host.
//!
//! Runs in: the parent and the Apache children. Server records live as long as the configuration
//! they were read from: in a child that is its whole life.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::time::Duration;

use super::pool::{self, Pool};
use super::sys;

/// A server record, lent for `'s`.
#[derive(Clone, Copy)]
pub struct Server<'s> {
    raw: NonNull<sys::server_rec>,
    _lent: PhantomData<&'s ()>,
}

/// Two views are equal when they are views of the same server.
impl PartialEq for Server<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Server<'_> {}

impl<'s> Server<'s> {
    /// # Safety
    /// `raw` is a live server record that no other thread changes during `'s`.
    pub(super) unsafe fn lent(raw: *mut sys::server_rec) -> Option<Server<'s>> {
        NonNull::new(raw).map(|raw| Server {
            raw,
            _lent: PhantomData,
        })
    }

    pub(super) fn raw(self) -> *mut sys::server_rec {
        self.raw.as_ptr()
    }

    fn record(self) -> &'s sys::server_rec {
        // SAFETY: live and unchanged for 's; everything here only reads.
        unsafe { self.raw.as_ref() }
    }

    /// The name from `ServerName`, or the one httpd found out.
    pub fn name(self) -> Option<&'s [u8]> {
        // SAFETY: strings of a server record live as long as it and are not written to.
        unsafe { pool::bytes(self.record().server_hostname) }
    }

    /// Whether the server is called `name` by `ServerName` or by a `ServerAlias` without wildcard.
    pub fn is_called(self, name: &[u8]) -> bool {
        let is_same = |own: Option<&[u8]>| own.is_some_and(|own| own.eq_ignore_ascii_case(name));
        if is_same(self.name()) {
            return true;
        }
        let names = self.record().names;
        if names.is_null() {
            return false;
        }
        // SAFETY: an array of httpd's, which lives as long as the server record and is complete;
        // its elements are terminated strings.
        unsafe {
            let count = usize::try_from((*names).nelts).unwrap_or(0);
            let first = (*names).elts.cast::<*const std::ffi::c_char>();
            (0..count).any(|index| is_same(pool::bytes(*first.add(index))))
        }
    }

    /// The port from `ServerName`, 0 if none was given.
    pub fn port(self) -> u16 {
        self.record().port
    }

    /// The address of `ServerAdmin`, if set.
    pub fn admin(self) -> Option<&'s [u8]> {
        // SAFETY: as in `name`.
        unsafe { pool::bytes(self.record().server_admin) }
    }

    /// A number of this server, unique within one reading of the configuration.
    pub fn id(self) -> usize {
        self.raw.as_ptr().addr()
    }

    /// Whether this is a virtual host and not the main server.
    pub fn is_virtual(self) -> bool {
        self.record().is_virtual != 0
    }

    /// The file and line that define a virtual host.
    pub fn defined_at(self) -> Option<(&'s [u8], u32)> {
        // SAFETY: as in `name`.
        let file = unsafe { pool::bytes(self.record().defn_name) }?;
        Some((file, self.record().defn_line_number))
    }

    /// The next server in the list, which starts with the main server.
    pub fn next(self) -> Option<Server<'s>> {
        // SAFETY: the servers of one configuration live equally long.
        unsafe { Server::lent(self.record().next) }
    }

    /// This server and all that follow it. From the main server: all servers.
    pub fn and_following(self) -> impl Iterator<Item = Server<'s>> {
        std::iter::successors(Some(self), |server| server.next())
    }

    /// `Timeout`.
    pub fn timeout(self) -> Duration {
        Duration::from_micros(u64::try_from(self.record().timeout).unwrap_or(0))
    }

    /// `ErrorLog` as written: a path, `|program`, or `syslog...`.
    pub fn error_log_name(self) -> Option<&'s [u8]> {
        // SAFETY: as in `name`.
        unsafe { pool::bytes(self.record().error_fname) }
    }

    /// The descriptor of the server's error log, if it has one: a file or a pipe. There is none
    /// with `ErrorLog syslog`, or if a module writes the log. httpd owns it and holds it open as
    /// long as the server record lives.
    pub fn error_log_descriptor(self) -> Option<BorrowedFd<'s>> {
        let file = self.record().error_log;
        if file.is_null() {
            return None;
        }
        let mut descriptor = -1;
        // SAFETY: an open file of httpd's, which lives as long as the server record.
        let status = unsafe { sys::apr_os_file_get(&mut descriptor, file) };
        // SAFETY: httpd keeps the file open as long as the server record.
        (status == sys::SUCCESS && descriptor >= 0)
            .then(|| unsafe { BorrowedFd::borrow_raw(descriptor) })
    }
}

/// `Server: ` of the responses, as `ServerTokens` allows it.
pub fn banner() -> &'static [u8] {
    // SAFETY: httpd gives a string that lives as long as the configuration; the copy of the pointer
    // is used at once by every caller, and a child never sees another configuration.
    unsafe { pool::bytes(sys::ap_get_server_banner()).unwrap_or_default() }
}

/// The full version string, whatever `ServerTokens` allows.
pub fn description() -> &'static [u8] {
    // SAFETY: as in `banner`.
    unsafe { pool::bytes(sys::ap_get_server_description()).unwrap_or_default() }
}

/// `path`, relative to `ServerRoot` unless absolute. `None` if it is no valid path.
pub fn root_relative<'p>(pool: Pool<'p>, path: &CStr) -> Option<&'p [u8]> {
    // SAFETY: a live pool and a terminated string; the result lives in the pool.
    unsafe { pool::bytes(sys::ap_server_root_relative(pool.raw(), path.as_ptr())) }
}

/// `path`, relative to `DefaultRuntimeDir` unless absolute. `None` if it is no valid path.
pub fn runtime_relative<'p>(pool: Pool<'p>, path: &CStr) -> Option<&'p [u8]> {
    // SAFETY: as in `root_relative`.
    unsafe { pool::bytes(sys::ap_runtime_dir_relative(pool.raw(), path.as_ptr())) }
}
