//! Writing the response through httpd's output filters.
//!
//! Runs in: the Apache children, on the thread that serves the request. The first brigade passed
//! down sends the head, so status and headers are set before.

use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};

use super::request::Request;
use super::sys;

/// The writer of one response.
pub struct ResponseWriter<'r> {
    request: Request<'r>,
    brigade: NonNull<sys::apr_bucket_brigade>,
}

/// Bytes read from a file at once, if the kernel does not send the file itself.
const FILE_BUFFER: sys::apr_size_t = 64 << 10;

/// What follows the data of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterWrite {
    /// More data: filters may buffer.
    More,
    /// A pause: all data so far is flushed to the client now.
    Flush,
    /// The end of the response. The response to a client's own request is flushed now: if the
    /// handler returned with data still in the filters, the event MPM would hand the connection to
    /// its listener.
    End,
}

/// The response could not be written, usually because the client has disconnected.
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
    /// The writer for the response to `request`.
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

    /// Sends `pieces`, which may be empty, and what `after` says. Returns when the filters accepted
    /// the data. They block while the client does not read, for `Timeout` at most.
    pub fn send(&mut self, pieces: &[&[u8]], after: AfterWrite) -> Result<(), NotWritten> {
        for data in pieces.iter().filter(|data| !data.is_empty()) {
            // A transient bucket: a filter that buffers it beyond the call makes its own copy, so
            // no data is copied on the direct path to the socket. SAFETY: `data` outlives the call
            // of `pass`, which empties the brigade.
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

    /// Sends `length` bytes of `file` from `offset`. The file is dropped with the request; until then
    /// it can be looked at.
    ///
    /// With `sendfile` the kernel sends the file itself if no filter must see the data.
    ///
    /// The file is never mapped into memory, even with `EnableMMAP On`. It belongs to an
    /// application, which may truncate it meanwhile, and a read of a mapping past the end kills the
    /// process.
    pub fn send_file<F: AsFd + Send + 'static>(
        &mut self,
        file: F,
        offset: u64,
        length: u64,
        sendfile: bool,
        after: AfterWrite,
    ) -> (&'r F, Result<(), NotWritten>) {
        // The request's pool outlives every bucket of the response: it goes with the last of them.
        let file: &'r F = self.request.pool().own(file);
        let sent = match (offset.try_into(), length.try_into()) {
            (Ok(offset), Ok(length)) => self.pass_file(file, offset, length, sendfile, after),
            _ => Err(self.not_written(libc::EOVERFLOW)),
        };
        (file, sent)
    }

    /// `file` is owned by the request's pool.
    fn pass_file(
        &mut self,
        file: &impl AsFd,
        offset: sys::apr_off_t,
        length: sys::apr_off_t,
        sendfile: bool,
        after: AfterWrite,
    ) -> Result<(), NotWritten> {
        let pool = self.request.pool();
        let mut flags = sys::APR_FOPEN_READ as sys::apr_int32_t;
        if sendfile {
            flags |= sys::APR_FOPEN_SENDFILE_ENABLED as sys::apr_int32_t;
        }
        let mut descriptor = file.as_fd().as_raw_fd();
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

    /// Ends the response so that the client notices the failure: over HTTP/1.1 without the last
    /// chunk or the rest of the length and with the connection closed, over HTTP/2 by a reset.
    pub fn break_off(&mut self) -> Result<(), NotWritten> {
        self.request.forbid_caching();
        if let Some(main) = self.request.main() {
            main.forbid_caching();
        }
        self.request.connection().close_after_this();
        // SAFETY: pool and allocator of a live request; a brigade of ours.
        unsafe {
            // httpd's filters treat 502 alone as "the source broke off".
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
                // The EOS bucket must be the last of its brigade. From that position httpd knows
                // that the response has ended, and separates a subrequest's end from the enclosing
                // response.
                AfterWrite::End => self.append(sys::apr_bucket_eos_create(self.allocator())),
            }
            self.pass_to((*self.request.raw()).output_filters)
        };
        if after == AfterWrite::End && status == sys::SUCCESS && !connection.is_secondary() {
            if self.request.main().is_none() {
                // SAFETY: as above. It bypasses the request's filters, whose request is over.
                status = unsafe {
                    self.append(sys::apr_bucket_flush_create(self.allocator()));
                    self.pass_to((*connection.raw()).output_filters)
                };
            }
        } else if after == AfterWrite::End && status == sys::SUCCESS {
            // mod_http2 has all data. It drops the stream's connection as soon as the client drops
            // it.
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
        // SAFETY: a brigade of ours; the filters take the buckets or leave them to be cleaned up
        // here, so none outlives the data it points to. The rest is the caller's promise.
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
