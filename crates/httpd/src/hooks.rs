//! The hooks of httpd, and the record by which it finds them.
//!
//! Runs in: the Apache parent (the hooks about the configuration) and its children (the others).
//!
//! One trait describes all that the module does when httpd calls it. Each hook has one thunk,
//! generic over the trait, which creates the views of httpd's structures for the length of the
//! call.

use std::any::Any;
use std::ffi::{c_char, c_int, CStr};
use std::ptr;

use super::authentication::{self, Authentication, Authorization, RealmHash};
use super::directive_tree;
use super::directives::{self, Commands, Position, Spec, Target};
use super::keep_alive_wait;
use super::panic_wall;
use super::pool::Pool;
use super::request::Request;
use super::server::Server;
use super::sys;

/// What the module is and does.
pub trait Module: Sized + 'static {
    /// The settings of a server.
    type Server: Default + Send + Sync + Any;
    /// The settings of a directory.
    type Dir: Default + Send + Sync + Any;
    /// The data that one reading of the configuration gathers.
    type Reading: Default + Send + Any;
    /// The resolved configuration, visible to all requests.
    type ActiveConfiguration: Send + Sync + Any;

    /// All directives.
    const DIRECTIVES: &'static [Spec];
    /// Modules whose `translate_name` runs before ours.
    const TRANSLATES_AFTER: &'static [&'static CStr];
    /// Modules whose `translate_name` runs after ours.
    const TRANSLATES_BEFORE: &'static [&'static CStr];
    /// Modules whose check of a client's host runs before ours.
    const CHECKS_ACCESS_AFTER: &'static [&'static CStr];
    /// Modules whose check of a client's host runs after ours.
    const CHECKS_ACCESS_BEFORE: &'static [&'static CStr];

    /// Reads the directive at `index` of [`Self::DIRECTIVES`]. The error is the sentence that httpd
    /// shows after file and line.
    fn read(
        index: usize,
        target: Target<'_, Self>,
        reading: &mut Self::Reading,
        args: &[u8],
        at: &Position<'_>,
    ) -> Result<(), String>;

    /// Ends the section at `index`, which [`Self::read`] began.
    fn close(
        index: usize,
        target: Target<'_, Self>,
        reading: &mut Self::Reading,
        args: &[u8],
        at: &Position<'_>,
    ) -> Result<(), String>;

    /// Merges `inner`, a virtual host's settings, over the main server's.
    fn merge_servers(outer: &Self::Server, inner: &Self::Server) -> Self::Server;

    /// Merges `inner`, a directory's settings, over those of the enclosing directory.
    fn merge_dirs(outer: &Self::Dir, inner: &Self::Dir) -> Self::Dir;

    /// Checks the complete configuration. Called by `-t` too, and twice at a start.
    fn check(
        configured: &Configured<'_>,
        reading: &mut Self::Reading,
    ) -> Result<(), ConfigurationRefused>;

    /// Starts what the configuration needs before it is served. In the parent, as the user that
    /// started httpd, before children exist.
    fn start(
        configured: &Configured<'_>,
        reading: &mut Self::Reading,
    ) -> Result<(), ConfigurationRefused>;

    /// Called when a child has started.
    fn begin_child(_main: Server<'_>, _pool: Pool<'_>) {}

    /// Maps a URI to a file.
    fn translate_name(request: Request<'_>) -> HookStatus;

    /// Says whether a client may enter, whoever its user is.
    fn check_access(request: Request<'_>) -> HookStatus;

    /// Checks a password, for mod_auth_basic. May give the user another name.
    fn check_password(request: Request<'_>, user: &[u8], password: &[u8]) -> Authentication;

    /// Looks for the hash of a user, for mod_auth_digest, and gives it to `found`, once.
    fn realm_hash(
        request: Request<'_>,
        user: &[u8],
        realm: &[u8],
        found: impl FnOnce(RealmHash<'_>),
    );

    /// Checks the user's groups against what follows `Require wsgi-group`.
    fn check_groups(request: Request<'_>, required: &[u8]) -> Authorization;

    /// Answers a request.
    fn handle(request: Request<'_>) -> HookStatus;

    /// Adds to the page of mod_status, if mod_status is loaded.
    fn write_status(_request: Request<'_>, _page: StatusPage) {}
}

/// The format of mod_status's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusPage {
    /// Lines of `Name: value` without HTML (`?auto`).
    pub is_short: bool,
    /// With details of single requests (`ExtendedStatus On`).
    pub is_extended: bool,
}

/// The result of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookStatus(c_int);

impl HookStatus {
    /// The hook handled it.
    pub const OK: HookStatus = HookStatus(sys::HOOK_OK);
    /// The hook declines; other modules may handle it.
    pub const DECLINED: HookStatus = HookStatus(sys::HOOK_DECLINED);
    /// The hook handled it and the response is complete.
    pub const DONE: HookStatus = HookStatus(sys::HOOK_DONE);

    /// An error response by httpd, with its `ErrorDocument`.
    pub fn status(status: u16) -> HookStatus {
        HookStatus(c_int::from(status))
    }

    /// What reading the body failed with ([`super::request_body::Broken::status`]), passed on as it
    /// is.
    pub fn from_httpd(status: i32) -> HookStatus {
        HookStatus(status)
    }
}

/// The configuration cannot be used. The reason has been logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigurationRefused;

/// A configuration that was read.
pub struct Configured<'p> {
    /// The main server, first of the list.
    pub main: Server<'p>,
    /// Lives as long as the configuration: to the next restart, or to the end.
    pub pool: Pool<'p>,
    /// Lives as long as the reading.
    pub scratch: Pool<'p>,
}

impl Configured<'_> {
    /// Stores the resolved configuration, for [`Server::active_configuration`].
    pub fn activate<M: Module>(&self, active_configuration: M::ActiveConfiguration) {
        directives::activate::<M>(self.main, active_configuration);
    }

    /// Calls `note` for every directive of every module, outside of `.htaccess`, with its name, `<`
    /// included if it is a section, and its arguments.
    pub fn each_directive(&self, note: impl FnMut(&[u8], &[u8])) {
        directive_tree::each(note);
    }
}

/// The record httpd looks up in the module's file.
#[repr(transparent)]
pub struct ModuleRecord(sys::module);

// SAFETY: httpd changes it only while it loads the module, in one thread; we only read it.
unsafe impl Sync for ModuleRecord {}

impl ModuleRecord {
    /// The record of `M`.
    pub const fn of<M: Module, const N: usize>(commands: &'static Commands<N>) -> ModuleRecord {
        ModuleRecord(sys::module {
            version: sys::MODULE_MAGIC_NUMBER_MAJOR as c_int,
            minor_version: sys::MODULE_MAGIC_NUMBER_MINOR as c_int,
            module_index: -1,
            // The C module's file name, so that `<IfModule mod_wsgi.c>` and other modules' hook
            // orders work.
            name: c"mod_wsgi.c".as_ptr(),
            dynamic_load_handle: ptr::null_mut(),
            next: ptr::null_mut(),
            magic: sys::MODULE_MAGIC_COOKIE as _,
            rewrite_args: None,
            create_dir_config: Some(directives::create_dir::<M>),
            merge_dir_config: Some(directives::merge_dir::<M>),
            create_server_config: Some(directives::create_server::<M>),
            merge_server_config: Some(directives::merge_server::<M>),
            cmds: commands.as_ptr(),
            register_hooks: Some(register::<M>),
            flags: 0,
        })
    }
}

/// Defines the symbol httpd loads, for one type that implements [`Module`].
#[macro_export]
macro_rules! module_record {
    ($module:ty) => {
        const _: () = {
            use $crate::directives::{Commands, Texts};
            use $crate::hooks::{Module, ModuleRecord};
            const DIRECTIVES: usize = <$module>::DIRECTIVES.len();
            static TEXTS: Texts<DIRECTIVES> = Texts::of(<$module>::DIRECTIVES);
            static COMMANDS: Commands<{ DIRECTIVES + 1 }> = Commands::of::<$module, _>(&TEXTS);
            /// What `LoadModule wsgi_module` looks for.
            #[no_mangle]
            pub static mut wsgi_module: ModuleRecord = ModuleRecord::of::<$module, _>(&COMMANDS);
        };
    };
}

/// Maximum number of modules that one hook can be ordered against.
const MOST_NEIGHBOURS: usize = 8;

/// Their names, as httpd expects them: a list that ends with NULL.
struct Neighbours([*const c_char; MOST_NEIGHBOURS + 1]);

// SAFETY: they point to texts that live as long as the module is loaded and never change.
unsafe impl Send for Neighbours {}

fn neighbours(names: &[&'static CStr]) -> Neighbours {
    let mut list = [ptr::null(); MOST_NEIGHBOURS + 1];
    for (slot, name) in list.iter_mut().zip(names.iter().take(MOST_NEIGHBOURS)) {
        *slot = name.as_ptr();
    }
    Neighbours(list)
}

unsafe extern "C" fn register<M: Module>(pool: *mut sys::apr_pool_t) {
    panic_wall::install_panic_hook();
    panic_wall::enter("the registration of hooks", || {
        // SAFETY: httpd calls with the configuration's pool.
        let Some(pool) = (unsafe { Pool::lent(pool) }) else {
            return;
        };
        authentication::register::<M>(pool);
        // httpd stores the lists themselves, so they are in the pool.
        let after = &pool.own(neighbours(M::TRANSLATES_AFTER)).0;
        let before = &pool.own(neighbours(M::TRANSLATES_BEFORE)).0;
        let access_after = &pool.own(neighbours(M::CHECKS_ACCESS_AFTER)).0;
        let access_before = &pool.own(neighbours(M::CHECKS_ACCESS_BEFORE)).0;
        let none = ptr::null();
        let middle = sys::APR_HOOK_MIDDLE as c_int;
        // SAFETY: thunks of the types the hooks have; the lists end with NULL and live as long as
        // the registration.
        unsafe {
            sys::ap_hook_check_config(Some(check::<M>), none, none, middle);
            sys::ap_hook_post_config(Some(start::<M>), none, none, middle);
            sys::ap_hook_child_init(Some(begin_child::<M>), none, none, middle);
            sys::ap_hook_translate_name(
                Some(translate_name::<M>),
                after.as_ptr(),
                before.as_ptr(),
                middle,
            );
            // A script may decide by the URI, so that the same settings are no reason for httpd to
            // take what holds for one URI for another.
            sys::ap_hook_check_access(
                Some(check_access::<M>),
                access_after.as_ptr(),
                access_before.as_ptr(),
                middle,
                sys::AP_AUTH_INTERNAL_PER_URI as c_int,
            );
            sys::ap_hook_handler(Some(handle::<M>), none, none, middle);
            sys::shim_hook_status(Some(write_status::<M>));
        }
    });
}

unsafe extern "C" fn check<M: Module>(
    pool: *mut sys::apr_pool_t,
    _log: *mut sys::apr_pool_t,
    scratch: *mut sys::apr_pool_t,
    server: *mut sys::server_rec,
) -> c_int {
    panic_wall::enter("the check of the configuration", || {
        // SAFETY: the arguments of this hook, valid for its call.
        unsafe { configured::<M>(pool, scratch, server, M::check) }
    })
}

unsafe extern "C" fn start<M: Module>(
    pool: *mut sys::apr_pool_t,
    _log: *mut sys::apr_pool_t,
    scratch: *mut sys::apr_pool_t,
    server: *mut sys::server_rec,
) -> c_int {
    panic_wall::enter("the start", || {
        // SAFETY: the arguments of this hook, valid for its call.
        unsafe { configured::<M>(pool, scratch, server, M::start) }
    })
}

/// # Safety
/// The pools and the server of a configuration that was read.
unsafe fn configured<M: Module>(
    pool: *mut sys::apr_pool_t,
    scratch: *mut sys::apr_pool_t,
    server: *mut sys::server_rec,
    step: fn(&Configured<'_>, &mut M::Reading) -> Result<(), ConfigurationRefused>,
) -> c_int {
    // SAFETY: the caller's promise; no directive is being read, so the reading is ours alone.
    unsafe {
        let (Some(pool), Some(scratch), Some(main)) =
            (Pool::lent(pool), Pool::lent(scratch), Server::lent(server))
        else {
            return sys::HOOK_OK;
        };
        let reading = directives::reading::<M>(pool);
        match step(
            &Configured {
                main,
                pool,
                scratch,
            },
            reading,
        ) {
            Ok(()) => sys::HOOK_OK,
            Err(ConfigurationRefused) => sys::HTTP_INTERNAL_SERVER_ERROR as c_int,
        }
    }
}

unsafe extern "C" fn begin_child<M: Module>(
    pool: *mut sys::apr_pool_t,
    server: *mut sys::server_rec,
) {
    panic_wall::enter("the start of a child", || {
        keep_alive_wait::begin_child();
        // SAFETY: the child's pool and the main server, both live as long as the child.
        if let (Some(pool), Some(main)) = unsafe { (Pool::lent(pool), Server::lent(server)) } {
            M::begin_child(main, pool);
        }
    });
}

unsafe extern "C" fn translate_name<M: Module>(request: *mut sys::request_rec) -> c_int {
    panic_wall::enter("the mapping of a URI", || {
        // SAFETY: a request of this thread, live for the call.
        match unsafe { Request::lent(request) } {
            Some(request) => M::translate_name(request).0,
            None => sys::HOOK_DECLINED,
        }
    })
}

unsafe extern "C" fn check_access<M: Module>(request: *mut sys::request_rec) -> c_int {
    panic_wall::enter("a check of access", || {
        // SAFETY: a request of this thread, live for the call.
        match unsafe { Request::lent(request) } {
            Some(request) => M::check_access(request).0,
            None => sys::HTTP_INTERNAL_SERVER_ERROR as c_int,
        }
    })
}

unsafe extern "C" fn handle<M: Module>(request: *mut sys::request_rec) -> c_int {
    panic_wall::enter("the answering of a request", || {
        // SAFETY: a request of this thread, live for the call.
        match unsafe { Request::lent(request) } {
            Some(request) => M::handle(request).0,
            None => sys::HOOK_DECLINED,
        }
    })
}

unsafe extern "C" fn write_status<M: Module>(
    request: *mut sys::request_rec,
    flags: c_int,
) -> c_int {
    panic_wall::enter("the section of mod_status", || {
        // SAFETY: a request of this thread, live for the call.
        if let Some(request) = unsafe { Request::lent(request) } {
            let has = |flag: u32| flags & flag as c_int != 0;
            let page = StatusPage {
                is_short: has(sys::AP_STATUS_SHORT),
                is_extended: has(sys::AP_STATUS_EXTENDED),
            };
            M::write_status(request, page);
        }
        sys::HOOK_OK
    })
}
