//! A client's connection.
//!
//! Runs in: the Apache children, on the thread that serves the connection.

use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use super::pool::{self, Pool};
use super::sys;

/// A connection record, lent for `'c`.
#[derive(Clone, Copy)]
pub struct ClientConnection<'c> {
    raw: NonNull<sys::conn_rec>,
    _lent: PhantomData<&'c ()>,
}

impl<'c> ClientConnection<'c> {
    /// # Safety
    /// `raw` is a live connection record, used by this thread alone during `'c`.
    pub(super) unsafe fn lent(raw: *mut sys::conn_rec) -> Option<ClientConnection<'c>> {
        NonNull::new(raw).map(|raw| ClientConnection {
            raw,
            _lent: PhantomData,
        })
    }

    pub(super) fn raw(self) -> *mut sys::conn_rec {
        self.raw.as_ptr()
    }

    /// Lives as long as the connection.
    pub fn pool(self) -> Pool<'c> {
        // SAFETY: a live record has a pool, which lives as long as it; never NULL.
        unsafe { Pool::lent((*self.raw()).pool).unwrap_unchecked() }
    }

    /// The server's address of this connection, without port.
    pub fn local_ip(self) -> Option<&'c [u8]> {
        // SAFETY: a live record; its strings live as long as it and are not written to.
        unsafe { pool::bytes((*self.raw()).local_ip) }
    }

    /// The host in the `Listen` line that accepted this connection, as written; `None` if the line
    /// names no host.
    pub fn listener_host(self) -> Option<&'c [u8]> {
        // SAFETY: a live record; its address is NULL or lives as long as it, and so does the name,
        // which is not written to.
        unsafe {
            let address = (*self.raw()).local_addr;
            if address.is_null() {
                None
            } else {
                pool::bytes((*address).hostname)
            }
        }
    }

    /// The server's port of this connection.
    pub fn local_port(self) -> u16 {
        // SAFETY: a live record.
        unsafe { port((*self.raw()).local_addr) }
    }

    /// The address of the next hop. [`super::request::Request::useragent_ip`] is the client's
    /// address.
    pub fn client_ip(self) -> Option<&'c [u8]> {
        // SAFETY: as in `local_ip`.
        unsafe { pool::bytes((*self.raw()).client_ip) }
    }

    /// The port of the next hop.
    pub fn client_port(self) -> u16 {
        // SAFETY: a live record.
        unsafe { port((*self.raw()).client_addr) }
    }

    /// Whether a write has failed, which means that the client has disconnected.
    pub fn is_aborted(self) -> bool {
        // SAFETY: a live record.
        unsafe { (*self.raw()).aborted != 0 }
    }

    /// Aborts the connection: httpd writes nothing more to it and closes it.
    pub fn abort(self) {
        // SAFETY: a live record, used by this thread alone.
        unsafe {
            (*self.raw()).aborted = 1;
            (*self.raw()).keepalive = sys::AP_CONN_CLOSE;
        }
    }

    /// Forbids another request on the connection.
    pub fn close_after_this(self) {
        // SAFETY: a live record, used by this thread alone.
        unsafe { (*self.raw()).keepalive = sys::AP_CONN_CLOSE };
    }

    /// Whether keep-alive is in effect, or may still be, on the connection.
    pub fn may_be_kept_alive(self) -> bool {
        // SAFETY: a live record.
        unsafe { (*self.raw()).keepalive != sys::AP_CONN_CLOSE }
    }

    /// httpd's number of the connection, unique among those that are open now.
    pub fn id(self) -> i64 {
        // SAFETY: a live record.
        unsafe { (*self.raw()).id }
    }

    /// The id of the connection in the error log, if it has been given one.
    pub fn log_id(self) -> Option<&'c [u8]> {
        // SAFETY: as in `local_ip`.
        unsafe { pool::bytes((*self.raw()).log_id) }
    }

    /// The socket, for polling only; data goes through the filters. `None` for a secondary
    /// connection, whose data arrives over another connection.
    pub fn socket(self) -> Option<BorrowedFd<'c>> {
        if self.is_secondary() {
            return None;
        }
        // SAFETY: a live record; its socket, if any, is open as long as the record is live.
        unsafe {
            let socket = sys::ap_get_conn_socket(self.raw());
            if socket.is_null() {
                return None;
            }
            let mut number = -1;
            let status = sys::apr_os_sock_get(&mut number, socket);
            (status == sys::SUCCESS && number >= 0).then(|| BorrowedFd::borrow_raw(number))
        }
    }

    /// Whether this is a secondary connection, such as an HTTP/2 stream's.
    pub fn is_secondary(self) -> bool {
        // SAFETY: a live record.
        unsafe { !(*self.raw()).master.is_null() }
    }

    /// Whether the connection is encrypted, as the module says that does the encrypting.
    pub fn is_https(self) -> bool {
        // An HTTP/2 stream has its own connection record; mod_ssl knows only its master connection.
        // SAFETY: a live record; a secondary connection lives no longer than its master.
        unsafe {
            let master = (*self.raw()).master;
            sys::shim_is_https(self.raw()) != 0
                || (!ptr::eq(master, ptr::null()) && sys::shim_is_https(master) != 0)
        }
    }
}

/// # Safety
/// `address` is NULL or a live socket address.
pub(super) unsafe fn port(address: *const sys::apr_sockaddr_t) -> u16 {
    if address.is_null() {
        return 0;
    }
    // SAFETY: not NULL; the rest is the caller's promise.
    unsafe { (*address).port }
}
