//! Reading the request body through httpd's input filters.
//!
//! Runs in: the Apache children, on the thread that serves the request. The body is read through
//! the filters, so chunked bodies, HTTP/2, decompression and `LimitRequestBody` need no code here.

use std::ffi::c_int;
use std::ptr::{self, NonNull};

use super::request::Request;
use super::sys;

/// The body of one request, from its first unread byte.
pub struct RequestBody<'r> {
    request: Request<'r>,
    brigade: NonNull<sys::apr_bucket_brigade>,
    ended: bool,
}

/// Whether a read may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Waits until data arrives, for `Timeout` at most.
    Yes,
    /// Does not wait: returns the data that is available, or [`BodyRead::Nothing`].
    No,
}

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRead {
    /// This many bytes, at least one, were appended.
    Some(usize),
    /// The body is complete.
    End,
    /// No data is available yet. Only a read that does not wait returns it.
    Nothing,
}

/// The body could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyError {
    /// The status to answer with: 400, 408, 413, or a negative number of httpd's if a filter has
    /// already answered.
    pub status: i32,
    /// The APR status, for the log.
    pub reason: i32,
}

impl BodyError {
    /// Whether a time limit (`Timeout`, `RequestReadTimeout`) ended the read.
    pub fn timed_out(&self) -> bool {
        self.status == sys::HTTP_REQUEST_TIME_OUT as i32 || self.reason == sys::APR_TIMEUP as i32
    }

    /// Whether the client has closed its connection, or it was lost.
    pub fn client_gone(&self) -> bool {
        let lost = [
            sys::APR_EOF as i32,
            sys::APR_INCOMPLETE as i32,
            libc::ECONNRESET,
            libc::ECONNABORTED,
            libc::EPIPE,
        ];
        lost.contains(&self.reason)
    }

    /// Whether an input filter has sent an error response itself. The handler must send nothing
    /// more.
    pub fn is_answered(&self) -> bool {
        self.status < 0
    }

    /// Whether the body is larger than `LimitRequestBody`.
    pub fn too_large(&self) -> bool {
        self.status == sys::HTTP_REQUEST_ENTITY_TOO_LARGE as i32
    }
}

impl<'r> RequestBody<'r> {
    /// The body of `request`. Use one at a time: bytes that one reader consumed are lost for the
    /// next.
    pub fn of(request: Request<'r>) -> RequestBody<'r> {
        // SAFETY: the pool and the bucket allocator of a live request; never NULL.
        let brigade = unsafe {
            NonNull::new_unchecked(sys::apr_brigade_create(
                request.pool().raw(),
                (*request.connection().raw()).bucket_alloc,
            ))
        };
        RequestBody {
            request,
            brigade,
            ended: false,
        }
    }

    /// Whether the end has been read.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Appends the next bytes to `into`, about `at_most`. The first read sends `100 Continue` to a
    /// client that waits for it.
    pub fn read(
        &mut self,
        wait: Wait,
        at_most: usize,
        into: &mut Vec<u8>,
    ) -> Result<BodyRead, BodyError> {
        let block = match wait {
            Wait::Yes => sys::APR_BLOCK_READ,
            Wait::No => sys::APR_NONBLOCK_READ,
        };
        let before = into.len();
        loop {
            if self.ended {
                return Ok(BodyRead::End);
            }
            // SAFETY: the filters of a live request, an empty brigade of its pool.
            let status = unsafe {
                sys::ap_get_brigade(
                    (*self.request.raw()).input_filters,
                    self.brigade.as_ptr(),
                    sys::AP_MODE_READBYTES,
                    block,
                    at_most.clamp(1, isize::MAX as usize) as sys::apr_off_t,
                )
            };
            let copied = if status == sys::SUCCESS {
                self.take(block, into)
            } else {
                Err(status)
            };
            // SAFETY: a brigade of ours; its buckets have been copied from.
            unsafe { sys::apr_brigade_cleanup(self.brigade.as_ptr().cast()) };
            match copied {
                Err(status) if would_block(status) && wait == Wait::No => {}
                Err(status) => return Err(self.broken(status)),
                Ok(()) => {}
            }
            match into.len() - before {
                // Filters passed on metadata only, so a read that may wait tries again.
                0 if wait == Wait::Yes || self.ended => {}
                0 => return Ok(BodyRead::Nothing),
                bytes => return Ok(BodyRead::Some(bytes)),
            }
        }
    }

    /// Copies the data of the brigade; notes the end.
    fn take(
        &mut self,
        block: sys::apr_read_type_e,
        into: &mut Vec<u8>,
    ) -> Result<(), sys::apr_status_t> {
        // SAFETY: a brigade of ours; the buckets are live until it is cleaned up, and reading one
        // may split it but leaves it in its place.
        unsafe {
            let mut next = sys::shim_brigade_first(self.brigade.as_ptr());
            while let Some(bucket) = NonNull::new(next) {
                if sys::shim_bucket_is_eos(bucket.as_ptr()) != 0 {
                    self.ended = true;
                    return Ok(());
                }
                if sys::shim_bucket_is_metadata(bucket.as_ptr()) == 0 {
                    let (mut data, mut length) = (ptr::null(), 0);
                    let status =
                        sys::shim_bucket_read(bucket.as_ptr(), &mut data, &mut length, block);
                    if status != sys::SUCCESS {
                        return Err(status);
                    }
                    if length > 0 {
                        let data = data.cast::<u8>();
                        into.extend_from_slice(std::slice::from_raw_parts(data, length));
                    }
                }
                next = sys::shim_bucket_next(self.brigade.as_ptr(), bucket.as_ptr());
            }
        }
        Ok(())
    }

    fn broken(&mut self, reason: sys::apr_status_t) -> BodyError {
        self.ended = true;
        // SAFETY: a pure function of its arguments.
        let status =
            unsafe { sys::ap_map_http_request_error(reason, sys::HTTP_BAD_REQUEST as c_int) };
        BodyError { status, reason }
    }
}

fn would_block(status: sys::apr_status_t) -> bool {
    status == libc::EAGAIN || status == libc::EWOULDBLOCK
}
