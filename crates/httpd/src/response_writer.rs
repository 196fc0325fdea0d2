//! Writing the response through httpd's output filters.
//!
//! Runs in: the Apache children, on the thread that serves the request. The first brigade passed
//! down sends the head, so status and headers are set before.

use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use super::request::Request;
use super::sys;

/// The way out for one response.
pub struct ResponseWriter<'r> {
    request: Request<'r>,
    brigade: NonNull<sys::apr_bucket_brigade>,
}

/// Bytes read of a file at once, where the kernel does not send it itself.
const FILE_BUFFER: sys::apr_size_t = 64 << 10;

/// What follows the data of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterWrite {
    /// More: filters may hold the data back.
    More,
    /// A pause: everything so far goes to the client now.
    Flush,
    /// The end of the response. Of a client's own request everything goes out now: a handler that
    /// returns with the response still in the filters costs the event MPM a hand-over to its listener.
    End,
}

/// The response could not be written: as a rule because the client has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotWritten {
    /// The APR status of the filter that failed.
    pub reason: i32,
    /// Whether the client's connection is lost.
    pub client_gone: bool,
}

/// Adds `text` to a response that httpd or another module writes with its own functions.
pub fn print(request: Request<'_>, text: &[u8]) {
    let length = std::ffi::c_int::try_from(text.len()).unwrap_or(0);
    // SAFETY: a live request in its handler; `text` is readable for the length, and copied. That
    // the client has gone is for the handler to find.
    unsafe { sys::ap_rwrite(text.as_ptr().cast(), length, request.raw()) };
}

impl<'r> ResponseWriter<'r> {
    /// The way out of `request`.
    pub fn of(request: Request<'r>) -> ResponseWriter<'r> {
        // SAFETY: the pool and the bucket allocator of a live request; never NULL.
        let brigade = unsafe {
            NonNull::new_unchecked(sys::apr_brigade_create(
                request.pool().raw(),
                (*request.connection().raw()).bucket_alloc,
            ))
        };
        ResponseWriter { request, brigade }
    }

    /// Sends `pieces`, of which there may be none, and what `after` says. Returns when the filters
    /// have taken them; they block while the client does not read, for `Timeout` at most.
    pub fn send(&mut self, pieces: &[&[u8]], after: AfterWrite) -> Result<(), NotWritten> {
        for data in pieces.iter().filter(|data| !data.is_empty()) {
            // A transient bucket: filters that keep it over the call make their own copy, so
            // nothing is copied where the data goes straight to the socket.
            // SAFETY: `data` outlives the call of `pass`, which empties the brigade.
            unsafe {
                self.append(sys::apr_bucket_transient_create(
                    data.as_ptr().cast(),
                    data.len() as _,
                    self.allocator(),
                ));
            }
        }
        self.pass(after)
    }

    /// Sends `length` bytes of `file` from `offset`. The descriptor is closed with the request.
    /// With `sendfile` the kernel sends it itself where no filter has to see it.
    ///
    /// It is never mapped into memory, whatever `EnableMMAP` says: the file is an application's,
    /// which may cut it short meanwhile, and reading a mapping past the end kills the process.
    pub fn send_file(
        &mut self,
        file: OwnedFd,
        offset: u64,
        length: u64,
        sendfile: bool,
        after: AfterWrite,
    ) -> Result<(), NotWritten> {
        let (Ok(offset), Ok(length)) = (
            sys::apr_off_t::try_from(offset),
            sys::apr_off_t::try_from(length),
        ) else {
            return Err(self.not_written(libc::EOVERFLOW));
        };
        let pool = self.request.pool();
        let mut flags = sys::APR_FOPEN_READ as sys::apr_int32_t;
        if sendfile {
            flags |= sys::APR_FOPEN_SENDFILE_ENABLED as sys::apr_int32_t;
        }
        // The request's pool outlives every bucket of the response: it goes with the last of them.
        let mut descriptor = pool.own(file).as_raw_fd();
        let mut handle = ptr::null_mut();
        // SAFETY: an open descriptor which the pool keeps open; APR copies the number and, because
        // it has not opened the file, leaves the closing to us. A brigade of ours.
        unsafe {
            let status = sys::apr_os_file_put(&mut handle, &mut descriptor, flags, pool.raw());
            if status != sys::SUCCESS {
                return Err(self.not_written(status));
            }
            // All buckets made of it share what is set on the one that is returned.
            let bucket = sys::apr_brigade_insert_file(
                self.brigade.as_ptr(),
                handle,
                offset,
                length,
                pool.raw(),
            );
            sys::apr_bucket_file_enable_mmap(bucket, 0);
            sys::apr_bucket_file_set_buf_size(bucket, FILE_BUFFER);
        }
        self.pass(after)
    }

    /// Ends the response so that the client sees it is broken: over HTTP/1.1 without its last chunk
    /// or the rest of its length and with the connection closed, over HTTP/2 by a reset.
    pub fn break_off(&mut self) -> Result<(), NotWritten> {
        self.request.forbid_caching();
        if let Some(main) = self.request.main() {
            main.forbid_caching();
        }
        self.request.connection().close_after_this();
        // SAFETY: pool and allocator of a live request; a brigade of ours.
        unsafe {
            // 502 is the one status httpd's filters take as "the source broke off".
            self.append(sys::ap_bucket_error_create(
                sys::HTTP_BAD_GATEWAY as _,
                ptr::null(),
                self.request.pool().raw(),
                self.allocator(),
            ));
        }
        self.pass(AfterWrite::End)
    }

    fn pass(&mut self, after: AfterWrite) -> Result<(), NotWritten> {
        let connection = self.request.connection();
        // SAFETY: a brigade and allocator of a live request.
        let mut status = unsafe {
            match after {
                AfterWrite::More => {}
                AfterWrite::Flush => self.append(sys::apr_bucket_flush_create(self.allocator())),
                // Nothing may follow it: by its place at the end of a brigade httpd knows that the
                // response has ended, and keeps the end of a subrequest from the page around it.
                AfterWrite::End => self.append(sys::apr_bucket_eos_create(self.allocator())),
            }
            self.pass_to((*self.request.raw()).output_filters)
        };
        if after == AfterWrite::End && status == sys::SUCCESS && !connection.is_secondary() {
            if self.request.main().is_none() {
                // SAFETY: as above. Past the filters of the request, for which it is over.
                status = unsafe {
                    self.append(sys::apr_bucket_flush_create(self.allocator()));
                    self.pass_to((*connection.raw()).output_filters)
                };
            }
        } else if after == AfterWrite::End && status == sys::SUCCESS {
            // mod_http2 has it all. It gives the stream's connection up as soon as the client has.
            return Ok(());
        }
        if status == sys::SUCCESS && !connection.is_aborted() {
            Ok(())
        } else {
            Err(self.not_written(status))
        }
    }

    /// # Safety
    /// `filters` are the first of a live chain of the request or of its connection.
    unsafe fn pass_to(&mut self, filters: *mut sys::ap_filter_t) -> sys::apr_status_t {
        // SAFETY: a brigade of ours; the filters take the buckets or leave them to be cleaned up here,
        // so none outlives the data it points to. The rest is the caller's promise.
        unsafe {
            let status = sys::ap_pass_brigade(filters, self.brigade.as_ptr());
            sys::apr_brigade_cleanup(self.brigade.as_ptr().cast());
            status
        }
    }

    fn not_written(&self, reason: sys::apr_status_t) -> NotWritten {
        NotWritten {
            reason,
            client_gone: self.request.connection().is_aborted(),
        }
    }

    fn allocator(&self) -> *mut sys::apr_bucket_alloc_t {
        // SAFETY: a live connection, which has an allocator all its life.
        unsafe { (*self.request.connection().raw()).bucket_alloc }
    }

    /// # Safety
    /// `bucket` is fresh and in no brigade.
    unsafe fn append(&mut self, bucket: *mut sys::apr_bucket) {
        // SAFETY: a brigade of ours; the rest is the caller's promise.
        unsafe { sys::shim_brigade_append(self.brigade.as_ptr(), bucket) };
    }
}
