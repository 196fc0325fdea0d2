//! The providers by which mod_auth_basic, mod_auth_digest and mod_authz_core ask this module.
//!
//! Runs in: the Apache parent (registration) and its children (questions), on the thread that serves
//! the request.

use std::ffi::{c_char, c_void};
use std::ptr;

use super::hooks::Module;
use super::panic_wall::{self, Fallback};
use super::pool::{self, Pool};
use super::request::Request;
use super::sys;

/// Whether a user is who they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// The password is right.
    Granted,
    /// It is wrong.
    Denied,
    /// The user is not known here; another provider may know them.
    UserNotFound,
    /// It cannot be said: 500, unless the configuration leaves that to other modules.
    Failed,
}

/// What is known of a user for Digest. The hash is the MD5 of `user:realm:password`, in hexadecimal
/// digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RealmHash<'h> {
    Found(&'h [u8]),
    UserNotFound,
    /// It cannot be said.
    Failed,
}

/// Whether a `Require` line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    Granted,
    Denied,
    /// There is no user yet: httpd asks for one.
    NeedsUser,
    /// It cannot be said: 500. A denial would do for a line by itself, but would let everybody in where
    /// it stands after `Require not`.
    Failed,
}

/// What httpd's authentication modules get; a failure is [`Authentication::Failed`].
struct AuthnStatus(sys::authn_status);

impl Fallback for AuthnStatus {
    const ON_PANIC: Self = AuthnStatus(sys::AUTH_GENERAL_ERROR);
}

/// What mod_authz_core gets; a failure is [`Authorization::Failed`].
struct AuthzStatus(sys::authz_status);

impl Fallback for AuthzStatus {
    const ON_PANIC: Self = AuthzStatus(sys::AUTHZ_GENERAL_ERROR);
}

/// A provider's table of functions, which httpd keeps a pointer to.
struct Provider<T>(T);

// SAFETY: it holds functions only, which live as long as the module is loaded.
unsafe impl<T> Send for Provider<T> {}

/// Registers the providers `wsgi` and `wsgi-group`.
pub(super) fn register<M: Module>(pool: Pool<'_>) {
    let authn: &Provider<_> = pool.own(Provider(sys::authn_provider {
        check_password: Some(check_password::<M>),
        get_realm_hash: Some(realm_hash::<M>),
    }));
    let authz: &Provider<_> = pool.own(Provider(sys::authz_provider {
        check_authorization: Some(check_groups::<M>),
        parse_require_line: None,
    }));
    for (kind, name, table) in [
        (c"authn", c"wsgi", ptr::from_ref(&authn.0).cast::<c_void>()),
        (c"authz", c"wsgi-group", ptr::from_ref(&authz.0).cast()),
    ] {
        // SAFETY: terminated names, of which httpd takes a copy or that live as long as the module is
        // loaded; a table of the kind's type, which lives as long as the registration.
        unsafe {
            sys::ap_register_auth_provider(
                pool.raw(),
                kind.as_ptr(),
                name.as_ptr(),
                c"0".as_ptr(),
                table,
                sys::AP_AUTH_INTERNAL_PER_CONF as _,
            );
        }
    }
}

unsafe extern "C" fn check_password<M: Module>(
    request: *mut sys::request_rec,
    user: *const c_char,
    password: *const c_char,
) -> sys::authn_status {
    let status = panic_wall::enter("a check of a password", || {
        // SAFETY: a request of this thread and terminated strings of it, live for the call.
        let given = unsafe {
            (
                Request::lent(request),
                pool::bytes(user),
                pool::bytes(password),
            )
        };
        let (Some(request), Some(user), Some(password)) = given else {
            return AuthnStatus(sys::AUTH_GENERAL_ERROR);
        };
        AuthnStatus(match M::check_password(request, user, password) {
            Authentication::Granted => sys::AUTH_GRANTED,
            Authentication::Denied => sys::AUTH_DENIED,
            Authentication::UserNotFound => sys::AUTH_USER_NOT_FOUND,
            Authentication::Failed => sys::AUTH_GENERAL_ERROR,
        })
    });
    status.0
}

unsafe extern "C" fn realm_hash<M: Module>(
    request: *mut sys::request_rec,
    user: *const c_char,
    realm: *const c_char,
    hash: *mut *mut c_char,
) -> sys::authn_status {
    let status = panic_wall::enter("a look for a user's hash", || {
        // SAFETY: a request of this thread and terminated strings of it, live for the call.
        let given = unsafe {
            (
                Request::lent(request),
                pool::bytes(user),
                pool::bytes(realm),
            )
        };
        let (Some(request), Some(user), Some(realm)) = given else {
            return AuthnStatus(sys::AUTH_GENERAL_ERROR);
        };
        let mut status = sys::AUTH_GENERAL_ERROR;
        M::realm_hash(request, user, realm, |found| {
            status = match found {
                RealmHash::UserNotFound => sys::AUTH_USER_NOT_FOUND,
                RealmHash::Failed => sys::AUTH_GENERAL_ERROR,
                RealmHash::Found(found) => match request.pool().text(found) {
                    Ok(text) => {
                        // SAFETY: the place that the caller wants it put at; the text lives in the
                        // request's pool, and the caller only reads it.
                        unsafe { *hash = text.as_ptr().cast_mut() };
                        sys::AUTH_USER_FOUND
                    }
                    Err(_) => sys::AUTH_GENERAL_ERROR,
                },
            };
        });
        AuthnStatus(status)
    });
    status.0
}

unsafe extern "C" fn check_groups<M: Module>(
    request: *mut sys::request_rec,
    line: *const c_char,
    _parsed: *const c_void,
) -> sys::authz_status {
    let status = panic_wall::enter("a check of groups", || {
        // SAFETY: a request of this thread and a terminated string, live for the call.
        let given = unsafe { (Request::lent(request), pool::bytes(line)) };
        let (Some(request), Some(line)) = given else {
            return AuthzStatus(sys::AUTHZ_GENERAL_ERROR);
        };
        AuthzStatus(match M::check_groups(request, line) {
            Authorization::Granted => sys::AUTHZ_GRANTED,
            Authorization::Denied => sys::AUTHZ_DENIED,
            Authorization::NeedsUser => sys::AUTHZ_DENIED_NO_USER,
            Authorization::Failed => sys::AUTHZ_GENERAL_ERROR,
        })
    });
    status.0
}
