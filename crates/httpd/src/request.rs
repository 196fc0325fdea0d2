//! One request, as httpd parsed it.
//!
//! Runs in: the Apache children, on the thread that serves the request.
//!
//! [`Request`] is lent to a hook for the length of its call. Its texts are bytes, valid for the
//! request (`'r`): httpd replaces a request's strings but does not write into them, and a replaced
//! string stays in the request's pool.

use std::ffi::{c_int, CStr};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::time::{Duration, SystemTime};

use super::connection::{self, ClientConnection};
use super::pool::{self, InteriorNul, Pool};
use super::server::Server;
use super::sys;
use super::table::Table;

/// A request record, lent for `'r`.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    raw: NonNull<sys::request_rec>,
    _lent: PhantomData<&'r ()>,
}

/// What lies at a request's [`Request::filename`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Nothing.
    Missing,
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A device, a socket, or something httpd could not tell.
    Other,
}

/// Defines readers of string fields, which differ in the field alone.
macro_rules! text_fields {
    ($($(#[$doc:meta])* $name:ident: $field:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(self) -> Option<&'r [u8]> {
            // SAFETY: a live record; its strings are NULL or terminated, live in its pool and are
            // not written to after the hooks that parse the request.
            unsafe { pool::bytes((*self.raw()).$field) }
        }
    )*};
}

impl<'r> Request<'r> {
    /// # Safety
    /// `raw` is a live request record, used by this thread alone during `'r`.
    pub(super) unsafe fn lent(raw: *mut sys::request_rec) -> Option<Request<'r>> {
        NonNull::new(raw).map(|raw| Request {
            raw,
            _lent: PhantomData,
        })
    }

    pub(super) fn raw(self) -> *mut sys::request_rec {
        self.raw.as_ptr()
    }

    /// The pool that ends with the request.
    pub fn pool(self) -> Pool<'r> {
        // SAFETY: a live request has a pool, which is its thread's while it is served.
        unsafe { Pool::lent((*self.raw()).pool).unwrap_unchecked() }
    }

    /// The virtual host that serves the request.
    pub fn server(self) -> Server<'r> {
        // SAFETY: a live request has a server, which lives as long as the child.
        unsafe { Server::lent((*self.raw()).server).unwrap_unchecked() }
    }

    /// The connection of the request.
    pub fn connection(self) -> ClientConnection<'r> {
        // SAFETY: a live request has a connection, which outlives it.
        unsafe { ClientConnection::lent((*self.raw()).connection).unwrap_unchecked() }
    }

    text_fields! {
        /// The path part of the URI, decoded, `/` for none.
        uri: uri;
        /// The request target as the client sent it.
        unparsed_uri: unparsed_uri;
        /// The request line as the client sent it.
        the_request: the_request;
        /// The query string, without `?`; `None` for no `?` at all.
        args: args;
        /// The part of the URI that follows the file.
        path_info: path_info;
        /// The file that the URI was mapped to.
        filename: filename;
        /// The canonical file name in the file system.
        canonical_filename: canonical_filename;
        /// The name that selects the responding module.
        handler: handler;
        /// The response's media type, as set so far.
        content_type: content_type;
        /// The authenticated user.
        user: user;
        /// How the user was authenticated, such as `Basic`.
        auth_type: ap_auth_type;
        /// The client's address as determined by mod_remoteip and similar modules.
        useragent_ip: useragent_ip;
        /// The `Host` of the request, without port.
        hostname: hostname;
        /// The status line, where a module has set one.
        status_line: status_line;
    }

    /// The method, such as `GET`.
    pub fn method(self) -> &'r [u8] {
        // SAFETY: as in `text_fields`.
        unsafe { pool::bytes((*self.raw()).method).unwrap_or_default() }
    }

    /// The protocol as the client sent it, such as `HTTP/1.1`.
    pub fn protocol(self) -> &'r [u8] {
        // SAFETY: as in `text_fields`.
        unsafe { pool::bytes((*self.raw()).protocol).unwrap_or_default() }
    }

    /// The protocol as a number: 1001 is HTTP/1.1, 2000 is HTTP/2.
    pub fn protocol_number(self) -> i32 {
        // SAFETY: a live record.
        unsafe { (*self.raw()).proto_num }
    }

    /// Whether this is a HEAD request, for which httpd sends no body.
    pub fn is_header_only(self) -> bool {
        // SAFETY: a live record.
        unsafe { (*self.raw()).header_only != 0 }
    }

    /// httpd's number of the method, such as `M_GET`.
    pub fn method_number(self) -> i32 {
        // SAFETY: a live record.
        unsafe { (*self.raw()).method_number }
    }

    /// Whether this is a GET (or HEAD, which httpd counts as one).
    pub fn is_get(self) -> bool {
        self.method_number() == sys::M_GET as c_int
    }

    /// The time at which the request line was complete.
    pub fn time(self) -> SystemTime {
        // SAFETY: a live record.
        let micros = unsafe { (*self.raw()).request_time };
        SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// The same in microseconds since 1970.
    pub fn time_micros(self) -> i64 {
        // SAFETY: a live record.
        unsafe { (*self.raw()).request_time }
    }

    /// The status so far.
    pub fn status(self) -> i32 {
        // SAFETY: a live record.
        unsafe { (*self.raw()).status }
    }

    /// Sets the status; httpd supplies the reason phrase.
    pub fn set_status(self, status: u16) {
        // SAFETY: a live record, used by this thread alone.
        unsafe {
            (*self.raw()).status = c_int::from(status);
            (*self.raw()).status_line = ptr::null();
        }
    }

    /// Sets the status and its line, such as `404 Gone fishing`.
    pub fn set_status_line(self, status: u16, line: &[u8]) -> Result<(), InteriorNul> {
        let line = self.pool().text(line)?;
        // SAFETY: a live record, used by this thread alone; the string lives in its pool.
        unsafe {
            (*self.raw()).status = c_int::from(status);
            (*self.raw()).status_line = line.as_ptr();
        }
        Ok(())
    }

    /// Sets the handler.
    pub fn set_handler(self, handler: &'static CStr) {
        // SAFETY: a live record, used by this thread alone; the string lives for ever (handlers run
        // only while the module is loaded).
        unsafe { (*self.raw()).handler = handler.as_ptr() };
    }

    /// Sets the authenticated user.
    pub fn set_user(self, user: &[u8]) -> Result<(), InteriorNul> {
        let user = self.pool().text(user)?;
        // SAFETY: a live record, used by this thread alone; the string lives in its pool. The field
        // lacks `const` but httpd does not write into it.
        unsafe { (*self.raw()).user = user.as_ptr().cast_mut() };
        Ok(())
    }

    /// Sets the file the URI is mapped to.
    pub fn set_filename(self, filename: &[u8]) -> Result<(), InteriorNul> {
        let filename = self.pool().text(filename)?;
        // SAFETY: a live record, used by this thread alone; the string lives in its pool. The field
        // lacks `const` but httpd does not write into it.
        unsafe { (*self.raw()).filename = filename.as_ptr().cast_mut() };
        Ok(())
    }

    /// Sets the response's media type and adds the filters configured for it.
    pub fn set_content_type(self, media_type: &[u8]) -> Result<(), InteriorNul> {
        let media_type = self.pool().text(media_type)?;
        // SAFETY: a live record, used by this thread alone; the string lives in its pool.
        unsafe { sys::ap_set_content_type(self.raw(), media_type.as_ptr()) };
        Ok(())
    }

    /// What is at [`Self::filename`], as found when the request was mapped.
    pub fn file_kind(self) -> FileKind {
        // SAFETY: a live record.
        match unsafe { (*self.raw()).finfo.filetype } {
            sys::APR_NOFILE => FileKind::Missing,
            sys::APR_REG => FileKind::Regular,
            sys::APR_DIR => FileKind::Directory,
            _ => FileKind::Other,
        }
    }

    /// When that file was last changed, in microseconds since 1970.
    pub fn file_mtime_micros(self) -> i64 {
        // SAFETY: a live record.
        unsafe { (*self.raw()).finfo.mtime }
    }

    /// The request's headers.
    pub fn headers_in(self) -> Table<'r> {
        // SAFETY: a live record; its tables exist from its making and live as long as it.
        unsafe { Table::lent((*self.raw()).headers_in).unwrap_unchecked() }
    }

    /// The response's headers, sent with a success only.
    pub fn headers_out(self) -> Table<'r> {
        // SAFETY: as in `headers_in`.
        unsafe { Table::lent((*self.raw()).headers_out).unwrap_unchecked() }
    }

    /// The response's headers that are sent with an error too.
    pub fn err_headers_out(self) -> Table<'r> {
        // SAFETY: as in `headers_in`.
        unsafe { Table::lent((*self.raw()).err_headers_out).unwrap_unchecked() }
    }

    /// The variables of the CGI environment: `SetEnv`, mod_ssl and so on.
    pub fn subprocess_env(self) -> Table<'r> {
        // SAFETY: as in `headers_in`.
        unsafe { Table::lent((*self.raw()).subprocess_env).unwrap_unchecked() }
    }

    /// Notes by which modules exchange data.
    pub fn notes(self) -> Table<'r> {
        // SAFETY: as in `headers_in`.
        unsafe { Table::lent((*self.raw()).notes).unwrap_unchecked() }
    }

    /// The main request, if this is a subrequest.
    pub fn main(self) -> Option<Request<'r>> {
        // SAFETY: the main request outlives its subrequests.
        unsafe { Request::lent((*self.raw()).main) }
    }

    /// The request that was internally redirected to this one.
    pub fn previous(self) -> Option<Request<'r>> {
        // SAFETY: a redirected request shares its predecessor's pool.
        unsafe { Request::lent((*self.raw()).prev) }
    }

    /// Whether httpd made this request for an `ErrorDocument`. It is then a GET; a body is that of
    /// the request that failed.
    pub fn is_of_error(self) -> bool {
        std::iter::successors(self.previous(), |before| before.previous())
            .any(|before| before.status() != sys::HTTP_OK as c_int)
    }

    /// Whether a body is still unread because of the previous error.
    pub fn left_body_unread(self) -> bool {
        let headers = self.headers_in();
        let has_body = headers.get(c"Transfer-Encoding").is_some()
            || headers
                .get(c"Content-Length")
                .is_some_and(|length| length != b"0");
        // SAFETY: a pure function of its argument.
        let drops = |status| unsafe { sys::shim_status_drops_connection(status) != 0 };
        has_body
            && std::iter::successors(self.previous(), |before| before.previous())
                .any(|before| drops(before.status()))
    }

    /// The port the client's address has, 0 if unknown.
    pub fn useragent_port(self) -> u16 {
        // SAFETY: a live record, whose address is NULL or live.
        unsafe { connection::port((*self.raw()).useragent_addr) }
    }

    /// The id of the request in the error and access logs, made now if it has none yet.
    pub fn log_id(self) -> Option<&'r [u8]> {
        // SAFETY: a live record and its connection; the hook stores a string of the request's pool.
        unsafe {
            let raw = self.raw();
            if (*raw).log_id.is_null() {
                let mut id = ptr::null();
                sys::ap_run_generate_log_id((*raw).connection, raw, &mut id);
                (*raw).log_id = id;
            }
            pool::bytes((*raw).log_id)
        }
    }

    /// The client's name, where `HostnameLookups` has one found. The one of the connection: where a
    /// module such as mod_remoteip has put another client in its place, there is none.
    pub fn remote_host(self) -> Option<&'r [u8]> {
        // SAFETY: a live record with its connection and per-directory settings; the string lives
        // with the connection.
        unsafe {
            let connection = (*self.raw()).connection;
            if (*self.raw()).useragent_addr != (*connection).client_addr {
                return None;
            }
            pool::bytes(sys::ap_get_remote_host(
                connection,
                (*self.raw()).per_dir_config.cast(),
                sys::REMOTE_HOST as c_int,
                ptr::null_mut(),
            ))
        }
    }

    /// `SERVER_SIGNATURE`: the line below pages that httpd makes, as `ServerSignature` has it.
    pub fn server_signature(self) -> &'r [u8] {
        // SAFETY: a live record; the string lives in its pool or for ever.
        unsafe { pool::bytes(sys::ap_psignature(c"".as_ptr(), self.raw())).unwrap_or_default() }
    }

    /// Whether `Satisfy Any` holds and users are asked for, so that a client who is denied here may
    /// yet be let in.
    pub fn may_be_satisfied_otherwise(self) -> bool {
        // SAFETY: a live record that has passed the directory walk.
        unsafe {
            sys::ap_satisfies(self.raw()) == sys::SATISFY_ANY as c_int
                && sys::ap_some_auth_required(self.raw()) != 0
        }
    }

    /// The server's name as `UseCanonicalName` has it, an IPv6 literal in brackets.
    pub fn server_name(self) -> &'r [u8] {
        // SAFETY: a live record; the string lives in its pool, its server or its headers.
        unsafe { pool::bytes(sys::ap_get_server_name_for_url(self.raw())).unwrap_or_default() }
    }

    /// The server's name as `UseCanonicalName` has it, without brackets.
    pub fn server_name_plain(self) -> &'r [u8] {
        // SAFETY: as in `server_name`.
        unsafe { pool::bytes(sys::ap_get_server_name(self.raw())).unwrap_or_default() }
    }

    /// The server's port as `UseCanonicalName` and `UseCanonicalPhysicalPort` have it.
    pub fn server_port(self) -> u16 {
        // SAFETY: a live record.
        unsafe { sys::ap_get_server_port(self.raw()) }
    }

    /// `http`, or `https` if a module says so.
    pub fn scheme(self) -> &'r [u8] {
        // SAFETY: a live record; the string is static or lives with the server.
        unsafe { pool::bytes(sys::shim_http_scheme(self.raw())).unwrap_or_default() }
    }

    /// `DocumentRoot`, or the value that a module set in its place.
    pub fn document_root(self) -> Option<&'r [u8]> {
        // SAFETY: a live record; the string lives with the request or the configuration.
        unsafe { pool::bytes(sys::ap_document_root(self.raw())) }
    }

    /// `CONTEXT_PREFIX`: the URL prefix of the `Alias` that applied.
    pub fn context_prefix(self) -> Option<&'r [u8]> {
        // SAFETY: as in `document_root`.
        unsafe { pool::bytes(sys::ap_context_prefix(self.raw())) }
    }

    /// `CONTEXT_DOCUMENT_ROOT`: the directory of the `Alias` that applied.
    pub fn context_document_root(self) -> Option<&'r [u8]> {
        // SAFETY: as in `document_root`.
        unsafe { pool::bytes(sys::ap_context_document_root(self.raw())) }
    }

    /// Whether `Options ExecCGI` applies.
    pub fn may_execute(self) -> bool {
        // SAFETY: a live record that has passed the directory walk.
        unsafe { sys::ap_allow_options(self.raw()) & sys::OPT_EXECCGI as c_int != 0 }
    }

    /// `AcceptPathInfo`: whether path info is to be refused.
    pub fn refuses_path_info(self) -> bool {
        // SAFETY: a live record.
        unsafe { (*self.raw()).used_path_info == sys::AP_REQ_REJECT_PATH_INFO as c_int }
    }

    /// `LimitRequestBody` in bytes; `None` for no limit.
    pub fn body_limit(self) -> Option<u64> {
        // SAFETY: a live record.
        let limit = unsafe { sys::ap_get_limit_req_body(self.raw()) };
        u64::try_from(limit).ok().filter(|&limit| limit > 0)
    }

    /// `CGIPassAuth On`.
    pub fn passes_authorization(self) -> bool {
        // SAFETY: a live record with its per-directory settings.
        unsafe { sys::shim_cgi_pass_auth(self.raw()) != 0 }
    }

    /// `CGIVar REQUEST_URI current-uri`.
    pub fn request_uri_is_current(self) -> bool {
        // SAFETY: a live record with its per-directory settings.
        unsafe { sys::shim_request_uri_is_current(self.raw()) != 0 }
    }

    /// Sets the length of the response body.
    pub fn set_content_length(self, length: u64) {
        if let Ok(length) = sys::apr_off_t::try_from(length) {
            // SAFETY: a live record, used by this thread alone.
            unsafe { sys::ap_set_content_length(self.raw(), length) };
        }
    }

    /// Removes the length of the response body, for a response without a body.
    pub fn unset_content_length(self) {
        // SAFETY: a live record, used by this thread alone.
        unsafe { (*self.raw()).clength = 0 };
        self.headers_out().unset(c"Content-Length");
    }

    /// Whether the conditions of the request (`If-None-Match` and its like) hold for a response
    /// with the header fields set so far; else the status to answer with.
    pub fn meets_conditions(self) -> Result<(), u16> {
        // SAFETY: a live record, used by this thread alone.
        match unsafe { sys::ap_meets_conditions(self.raw()) } {
            sys::HOOK_OK => Ok(()),
            status => Err(u16::try_from(status).unwrap_or(500)),
        }
    }

    /// Announces to the client that it may request ranges of this response, unless a condition of
    /// httpd forbids it.
    pub fn offer_ranges(self) {
        // SAFETY: a live record, used by this thread alone.
        unsafe { sys::ap_set_accept_ranges(self.raw()) };
    }

    /// Sends the response whole, even if the client requests a range. Without this httpd applies
    /// ranges to every response that its filters see at once, also to a POST.
    pub fn refuse_ranges(self) {
        if self.main().is_some() {
            // The filter is that of the page around it.
            return;
        }
        // SAFETY: a live record, used by this thread alone, nothing of whose response has been
        // sent.
        unsafe {
            let filters = (*self.raw()).output_filters;
            sys::ap_remove_output_filter_byhandle(filters, c"BYTERANGE".as_ptr());
        }
    }

    /// Bytes of the response body that have passed to the network's filters.
    pub fn bytes_sent(self) -> u64 {
        // SAFETY: a live record, used by this thread alone.
        u64::try_from(unsafe { (*self.raw()).bytes_sent }).unwrap_or(0)
    }

    /// Sets the modification time of the content from an HTTP date. A date in the future becomes
    /// now; an invalid date is ignored.
    pub fn set_last_modified(self, date: &[u8]) -> Result<(), InteriorNul> {
        let date = self.pool().text(date)?;
        // SAFETY: a terminated string; a live record, used by this thread alone.
        unsafe {
            let time = sys::apr_date_parse_http(date.as_ptr());
            if time != 0 {
                sys::ap_update_mtime(self.raw(), time);
                sys::ap_set_last_modified(self.raw());
            }
        }
        Ok(())
    }

    /// Whether a filter may derive headers from the body, such as compression. A HEAD request then
    /// needs the body to get the headers of a GET.
    pub fn has_content_filter(self) -> bool {
        // SAFETY: a live record; filters in place are live and so are their registrations.
        unsafe {
            let filter = (*self.raw()).output_filters;
            !filter.is_null()
                && !(*filter).frec.is_null()
                && (*(*filter).frec).ftype < sys::AP_FTYPE_PROTOCOL
        }
    }

    /// `QualifyRedirectURL On`: `REDIRECT_URL` has scheme and host.
    pub fn qualifies_redirect_url(self) -> bool {
        // SAFETY: a live record with its per-directory settings.
        unsafe { sys::shim_qualify_redirect_url(self.raw()) != 0 }
    }

    /// `EnableSendfile`, where it is configured.
    pub fn enable_sendfile(self) -> Option<bool> {
        // SAFETY: a live record with its per-directory settings.
        match unsafe { sys::shim_enable_sendfile(self.raw()) } {
            -1 => None,
            value => Some(value != 0),
        }
    }

    /// Escapes `text` for HTML, as httpd does with `SERVER_NAME`.
    pub fn escape_html(self, text: &[u8]) -> Result<&'r [u8], InteriorNul> {
        let text = self.pool().text(text)?;
        // SAFETY: live pool, terminated string; the result is a terminated string of the pool.
        unsafe {
            Ok(
                pool::bytes(sys::ap_escape_html2(self.pool().raw(), text.as_ptr(), 0))
                    .unwrap_or_default(),
            )
        }
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    pub fn expects_continue(self) -> bool {
        // SAFETY: a live record.
        unsafe { (*self.raw()).expecting_100 != 0 }
    }

    /// Sets whether the client still waits for `100 Continue`. `false` stops httpd from sending one
    /// when the body is read or discarded.
    pub fn set_expects_continue(self, expects: bool) {
        // SAFETY: a live record, used by this thread alone.
        unsafe { (*self.raw()).expecting_100 = expects.into() };
    }

    /// Sends an interim (1xx) response with these headers. Call it only before the first byte of
    /// the final response, because it bypasses the filters. httpd omits it for clients that cannot
    /// understand it, and omits a 100 that the client does not wait for.
    pub fn send_interim(self, status: u16, headers: &[(&[u8], &[u8])]) -> Result<(), InteriorNul> {
        // There may be very many, and their headers would accumulate in the request's pool.
        self.pool()
            .with_temporary(|pool| self.send_interim_of(pool, status, headers))
    }

    fn send_interim_of(
        self,
        pool: Pool<'_>,
        status: u16,
        headers: &[(&[u8], &[u8])],
    ) -> Result<(), InteriorNul> {
        let interim = Table::new(pool);
        for (name, value) in headers {
            interim.add(name, value)?;
        }
        if self.connection().is_aborted() || !(100..200).contains(&status) {
            return Ok(());
        }
        let expects_100 = self
            .headers_in()
            .get(c"Expect")
            .is_some_and(is_100_continue);
        // SAFETY: a live record, used by this thread alone. httpd sends all of headers_out and then
        // clears it, hence a table of its own; everything is put back before anyone else looks.
        unsafe {
            let raw = self.raw();
            let original = ((*raw).status, (*raw).status_line, (*raw).headers_out);
            (*raw).status = c_int::from(status);
            (*raw).status_line = ptr::null();
            (*raw).headers_out = interim.raw();
            if status == 100 && expects_100 {
                // httpd forgets the expectation with the first 100 and would drop a second.
                (*raw).expecting_100 = true.into();
            }
            sys::ap_send_interim_response(raw, 1);
            ((*raw).status, (*raw).status_line, (*raw).headers_out) = original;
        }
        Ok(())
    }

    /// Reads and discards the rest of the request body. The error is the status to answer with, 413
    /// for a body over `LimitRequestBody`.
    pub fn discard_body(self) -> Result<(), u16> {
        // SAFETY: a live record in its handler.
        match unsafe { sys::ap_discard_request_body(self.raw()) } {
            sys::HOOK_OK => Ok(()),
            status => Err(u16::try_from(status)
                .ok()
                .filter(|s| *s >= 400)
                .unwrap_or(400)),
        }
    }

    /// Answers with another local URI, as a GET. The handler must return `OK` right afterwards.
    pub fn internal_redirect(self, uri: &[u8]) -> Result<(), InteriorNul> {
        let uri = self.pool().text(uri)?;
        // SAFETY: a live record in its handler; the string lives in its pool.
        unsafe { sys::ap_internal_redirect(uri.as_ptr(), self.raw()) };
        Ok(())
    }

    /// Makes the request a GET without a body, for [`Self::internal_redirect`].
    pub fn become_get(self) {
        // SAFETY: a live record, used by this thread alone; the string is static.
        unsafe {
            (*self.raw()).method = c"GET".as_ptr();
            (*self.raw()).method_number = sys::M_GET as c_int;
        }
        self.headers_in().unset(c"Content-Length");
    }

    /// Tells caches not to store the response.
    pub fn forbid_caching(self) {
        // SAFETY: a live record, used by this thread alone.
        unsafe { (*self.raw()).no_cache = 1 };
    }
}

fn is_100_continue(expect: &[u8]) -> bool {
    expect.eq_ignore_ascii_case(b"100-continue")
}
