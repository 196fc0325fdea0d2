//! Configuration records and directives: from httpd's callbacks to the module's plain functions.
//!
//! Runs in: the Apache parent while it reads the configuration; a child's request threads when a
//! directory's records are merged and when an `.htaccess` is read.
//!
//! A record lies in a pool of httpd's behind a void pointer. [`Slot`] stores the type's identity in
//! front of the record, so that safe code checks the type before it reads the record.

use std::any::{Any, TypeId};
use std::ffi::{c_char, c_int, c_void, CStr};
use std::ptr;
use std::sync::OnceLock;

use super::hooks::Module;
use super::panic_wall;
use super::pool::{self, Pool};
use super::request::Request;
use super::server::Server;
use super::sys;

/// Where a directive is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The main server only, outside of all sections.
    Global,
    /// The main server and virtual hosts.
    Server,
    /// The main server, virtual hosts and directory sections.
    Directory,
    /// The same, and `.htaccess` under `AllowOverride FileInfo`.
    FileInfo,
    /// Directory sections and `.htaccess` under `AllowOverride AuthConfig`.
    AuthConfig,
}

/// One directive, as httpd needs it. Every directive receives the raw text of its line.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The name, with `<` in front for a section.
    pub name: &'static str,
    /// One line for `httpd -L`.
    pub help: &'static str,
    /// Where it is allowed.
    pub scope: Scope,
}

impl Scope {
    const fn overrides(self) -> c_int {
        (match self {
            Scope::Global | Scope::Server => sys::RSRC_CONF,
            Scope::Directory => sys::RSRC_CONF | sys::ACCESS_CONF,
            Scope::FileInfo => sys::OR_FILEINFO,
            Scope::AuthConfig => sys::OR_AUTHCFG,
        }) as c_int
    }
}

/// The place of a directive in the configuration.
#[derive(Clone, Copy)]
pub struct Position<'a> {
    /// The file.
    pub file: &'a [u8],
    /// The line in it.
    pub line: u32,
    /// The argument of the enclosing directory-like section; empty in an `.htaccess`.
    pub directory: Option<&'a [u8]>,
    /// The server it applies to.
    pub server: Server<'a>,
    /// The argument of the enclosing `<VirtualHost>`.
    pub virtual_host: Option<&'a [u8]>,
    /// Whether it is in an `.htaccess` file that is read while a request waits.
    pub in_htaccess: bool,
    /// Data that the directive stores lives as long as this pool.
    pub pool: Pool<'a>,
}

/// The record that a directive changes.
pub enum Target<'a, M: Module> {
    /// The directive is in a server, outside of directory sections.
    Server(&'a mut M::Server),
    /// The directive is in a directory section or an `.htaccess` file.
    Directory(&'a mut M::Dir),
}

/// A value behind a void pointer, with its type's identity.
#[repr(C)]
struct Slot<T> {
    identity: TypeId,
    value: T,
}

impl<T: Any + Send> Slot<T> {
    fn put(pool: Pool<'_>, value: T) -> *mut c_void {
        let slot: *mut Slot<T> = pool.own(Slot {
            identity: TypeId::of::<T>(),
            value,
        });
        slot.cast()
    }

    /// # Safety
    /// `slot` is NULL or made by `put` of some type, and live.
    unsafe fn value(slot: *mut c_void) -> Option<*mut T> {
        // SAFETY: every Slot begins with the identity, whatever its type; the fields are projected
        // without making a reference to the whole.
        unsafe {
            (!slot.is_null() && slot.cast::<TypeId>().read() == TypeId::of::<T>())
                .then(|| ptr::addr_of_mut!((*slot.cast::<Slot<T>>()).value))
        }
    }
}

/// A server's record: the given settings, and on the main server the resolved configuration.
struct ServerSlot<M: Module> {
    given: M::Server,
    active_configuration: OnceLock<M::ActiveConfiguration>,
}

pub(super) unsafe extern "C" fn create_server<M: Module>(
    raw_pool: *mut sys::apr_pool_t,
    _server: *mut sys::server_rec,
) -> *mut c_void {
    panic_wall::enter("the making of a server's record", || {
        // SAFETY: httpd calls with the configuration's pool.
        match unsafe { Pool::lent(raw_pool) } {
            Some(pool) => Slot::put(
                pool,
                ServerSlot::<M> {
                    given: M::Server::default(),
                    active_configuration: OnceLock::new(),
                },
            ),
            None => ptr::null_mut(),
        }
    })
}

pub(super) unsafe extern "C" fn merge_server<M: Module>(
    raw_pool: *mut sys::apr_pool_t,
    outer: *mut c_void,
    inner: *mut c_void,
) -> *mut c_void {
    panic_wall::enter("the merging of two servers' records", || {
        // SAFETY: httpd calls with the configuration's pool and two records of ours, which no code
        // changes meanwhile.
        unsafe {
            let outer = Slot::<ServerSlot<M>>::value(outer);
            let inner = Slot::<ServerSlot<M>>::value(inner);
            match (Pool::lent(raw_pool), outer, inner) {
                (Some(pool), Some(outer), Some(inner)) => {
                    let given = M::merge_servers(&(*outer).given, &(*inner).given);
                    Slot::put(
                        pool,
                        ServerSlot::<M> {
                            given,
                            active_configuration: OnceLock::new(),
                        },
                    )
                }
                _ => ptr::null_mut(),
            }
        }
    })
}

pub(super) unsafe extern "C" fn create_dir<M: Module>(
    raw_pool: *mut sys::apr_pool_t,
    _path: *mut c_char,
) -> *mut c_void {
    panic_wall::enter("the making of a directory's record", || {
        // SAFETY: httpd calls with the configuration's or a request's pool.
        match unsafe { Pool::lent(raw_pool) } {
            Some(pool) => Slot::put(pool, M::Dir::default()),
            None => ptr::null_mut(),
        }
    })
}

pub(super) unsafe extern "C" fn merge_dir<M: Module>(
    raw_pool: *mut sys::apr_pool_t,
    outer: *mut c_void,
    inner: *mut c_void,
) -> *mut c_void {
    panic_wall::enter("the merging of two directories' records", || {
        // SAFETY: as in `merge_server`; the new record goes into the pool httpd names.
        unsafe {
            match (
                Pool::lent(raw_pool),
                Slot::<M::Dir>::value(outer),
                Slot::<M::Dir>::value(inner),
            ) {
                (Some(pool), Some(outer), Some(inner)) => {
                    Slot::put(pool, M::merge_dirs(&*outer, &*inner))
                }
                _ => ptr::null_mut(),
            }
        }
    })
}

/// # Safety
/// `vector` is NULL or a live vector of per-module records.
unsafe fn record_in(vector: *const sys::ap_conf_vector_t) -> *mut c_void {
    if vector.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: a live vector; our own record of the module, which knows its index.
    unsafe { sys::ap_get_module_config(vector, ptr::addr_of!(sys::wsgi_module)) }
}

fn server_slot<M: Module>(server: Server<'_>) -> Option<*mut ServerSlot<M>> {
    // SAFETY: a live server and its vector, in which our place holds what we put there.
    unsafe { Slot::<ServerSlot<M>>::value(record_in((*server.raw()).module_config)) }
}

impl<'s> Server<'s> {
    /// The settings of this server, merged with the main server's once the configuration is read.
    pub fn given<M: Module>(self) -> Option<&'s M::Server> {
        // SAFETY: the record lives as long as the server and is not changed after the configuration
        // was read; before, only one thread exists and the setters hold no view.
        server_slot::<M>(self).map(|slot| unsafe { &(*slot).given })
    }

    /// The resolved configuration, once it exists.
    pub fn active_configuration<M: Module>(self) -> Option<&'s M::ActiveConfiguration> {
        let main = Server::main()?;
        // SAFETY: as in `given`; the cell synchronises by itself. The main server lives as long as
        // any other of its configuration.
        server_slot::<M>(main).and_then(|slot| unsafe { (*slot).active_configuration.get() })
    }

    /// The main server, once its configuration is read.
    pub(super) fn main() -> Option<Server<'s>> {
        // SAFETY: a pointer of httpd's, set when the configuration has been read and then as good
        // as the configuration.
        unsafe { Server::lent(ptr::addr_of!(sys::ap_server_conf).read()) }
    }
}

/// Stores the resolved configuration, once per reading; a second call is ignored.
pub(super) fn activate<M: Module>(main: Server<'_>, active_configuration: M::ActiveConfiguration) {
    if let Some(slot) = server_slot::<M>(main) {
        // SAFETY: a live record of the main server; the cell synchronises by itself.
        let _ = unsafe { (*slot).active_configuration.set(active_configuration) };
    }
}

impl<'r> Request<'r> {
    /// The settings for the request's directory, merged from the outermost to the innermost.
    pub fn given<M: Module>(self) -> Option<&'r M::Dir> {
        // SAFETY: a live request and its vector; records are not changed after they were merged.
        unsafe { Slot::<M::Dir>::value(record_in((*self.raw()).per_dir_config)).map(|dir| &*dir) }
    }
}

/// The key under which a pool stores its reading.
const READING: &CStr = c"mod_wsgi: reading";

/// The data that a reading of the configuration has gathered, created on first use. One per pool:
/// the configuration's pool, or the request's for an `.htaccess`.
///
/// # Safety
/// No other reference to the reading of this pool is alive.
pub(super) unsafe fn reading<M: Module>(pool: Pool<'_>) -> &mut M::Reading {
    let mut slot = ptr::null_mut();
    // SAFETY: a live pool; terminated name. Only we store under it.
    unsafe {
        sys::apr_pool_userdata_get(&mut slot, READING.as_ptr(), pool.raw());
        if let Some(value) = Slot::<M::Reading>::value(slot) {
            return &mut *value;
        }
    }
    let slot: &mut Slot<M::Reading> = pool.own(Slot {
        identity: TypeId::of::<M::Reading>(),
        value: M::Reading::default(),
    });
    // SAFETY: as above; the slot lives as long as the pool. The name is copied by APR, for the pool
    // may outlive this image.
    unsafe {
        sys::apr_pool_userdata_set(
            ptr::from_mut(slot).cast(),
            READING.as_ptr(),
            None,
            pool.raw(),
        );
    }
    &mut slot.value
}

/// [`Module::read`] or [`Module::close`].
type Step<M> = fn(
    usize,
    Target<'_, M>,
    &mut <M as Module>::Reading,
    &[u8],
    &Position<'_>,
) -> Result<(), String>;

/// One directive being read.
struct Occurrence<'a> {
    index: usize,
    dir: *mut c_void,
    in_directory: bool,
    args: &'a [u8],
    at: Position<'a>,
}

impl Occurrence<'_> {
    /// # Safety
    /// `dir` is our record of the directory, and no reference to it, to the server's record or to
    /// the reading is alive.
    unsafe fn step<M: Module>(&self, step: Step<M>) -> Result<(), String> {
        // SAFETY: live records, exclusive for the length of this call, as promised.
        unsafe {
            let target = if self.in_directory {
                Slot::<M::Dir>::value(self.dir).map(|dir| Target::Directory(&mut *dir))
            } else {
                server_slot::<M>(self.at.server).map(|slot| Target::Server(&mut (*slot).given))
            };
            let Some(target) = target else {
                return Err("mod_wsgi has no record to store this in; see the error log".into());
            };
            step(
                self.index,
                target,
                reading::<M>(self.at.pool),
                self.args,
                &self.at,
            )
        }
    }
}

/// The one setter of all directives; `cmd_data` identifies the directive.
unsafe extern "C" fn set<M: Module>(
    command: *mut sys::cmd_parms,
    dir: *mut c_void,
    args: *const c_char,
) -> *const c_char {
    panic_wall::enter("a directive", || {
        // SAFETY: httpd calls with live parameters, our own directory record and the line's text;
        // a directive is read by one thread, and references of one step end with it.
        unsafe {
            let index = (*(*command).cmd).cmd_data as usize;
            let spec = &M::DIRECTIVES[index];
            let (Some(server), Some(pool)) =
                (Server::lent((*command).server), Pool::lent((*command).pool))
            else {
                return ptr::null();
            };
            if spec.scope == Scope::Global {
                let refusal = sys::ap_check_cmd_context(command, sys::GLOBAL_ONLY as _);
                if !refusal.is_null() {
                    return refusal;
                }
            }
            let is_section = spec.name.starts_with('<');
            let mut args = pool::bytes(args).unwrap_or_default();
            if is_section {
                match args.iter().rposition(|&byte| byte == b'>') {
                    Some(end) => args = &args[..end],
                    None => {
                        let sentence = format!("{}> directive missing closing '>'", spec.name);
                        return complaint(pool, &sentence);
                    }
                }
            }
            let occurrence = Occurrence {
                index,
                dir,
                in_directory: !(*command).path.is_null() || is_in_alias(command),
                args,
                at: position(command, server, pool),
            };
            if let Err(sentence) = occurrence.step::<M>(M::read) {
                return complaint(pool, &sentence);
            }
            if !is_section {
                return ptr::null();
            }
            let children = (*(*command).directive).first_child;
            let refusal = if children.is_null() {
                ptr::null()
            } else {
                sys::ap_walk_config(children, command, (*command).context)
            };
            // The section ends in any case; an error of a nested directive comes first in the file.
            let closed = occurrence.step::<M>(M::close);
            match closed {
                Err(sentence) if refusal.is_null() => complaint(pool, &sentence),
                _ => refusal,
            }
        }
    })
}

/// Whether a directive is in the definition of a provider's alias: such a section is no part of any
/// directory, and has directory records all the same.
///
/// # Safety
/// `command` is live.
unsafe fn is_in_alias(command: *const sys::cmd_parms) -> bool {
    // SAFETY: live parameters with a directive, whose parent is NULL or live.
    unsafe {
        let parent = (*(*command).directive).parent;
        !parent.is_null()
            && [&b"<AuthnProviderAlias"[..], b"<AuthzProviderAlias"]
                .iter()
                .any(|alias| {
                    let name = pool::bytes((*parent).directive).unwrap_or_default();
                    name.eq_ignore_ascii_case(alias)
                })
    }
}

/// # Safety
/// `command` is live for `'a`.
unsafe fn position<'a>(
    command: *const sys::cmd_parms,
    server: Server<'a>,
    pool: Pool<'a>,
) -> Position<'a> {
    // SAFETY: live parameters with a directive, whose parents are NULL-terminated and live as long
    // as the tree of the configuration.
    unsafe {
        let directive = (*command).directive;
        let file = pool::bytes((*directive).filename).unwrap_or_default();
        let mut at = Position {
            file,
            line: u32::try_from((*directive).line_num).unwrap_or(0),
            directory: None,
            server,
            virtual_host: None,
            in_htaccess: !(*command).path.is_null()
                && (*command).override_ as u32 & (sys::ACCESS_CONF | sys::RSRC_CONF) == 0,
            pool,
        };
        let mut parent = (*directive).parent;
        while !parent.is_null() {
            let name = pool::bytes((*parent).directive).unwrap_or_default();
            let argument = pool::bytes((*parent).args).unwrap_or_default();
            let argument = argument.strip_suffix(b">").unwrap_or(argument).trim_ascii();
            if name.eq_ignore_ascii_case(b"<VirtualHost") {
                at.virtual_host = at.virtual_host.or(Some(argument));
            } else if DIRECTORY_LIKE
                .iter()
                .any(|like| name.eq_ignore_ascii_case(like))
            {
                at.directory = at.directory.or(Some(argument));
            }
            parent = (*parent).parent;
        }
        if at.directory.is_none() && !(*command).path.is_null() {
            at.directory = Some(b"");
        }
        at
    }
}

const DIRECTORY_LIKE: [&[u8]; 6] = [
    b"<Directory",
    b"<DirectoryMatch",
    b"<Location",
    b"<LocationMatch",
    b"<Files",
    b"<FilesMatch",
];

/// The sentence in the form that httpd expects.
fn complaint(pool: Pool<'_>, sentence: &str) -> *const c_char {
    match pool.text(sentence.replace('\0', "\\0").as_bytes()) {
        Ok(text) => text.as_ptr(),
        Err(_) => c"mod_wsgi: invalid value".as_ptr(),
    }
}

/// Longest name of a directive, its NUL included.
const NAME: usize = 48;
/// Longest help text, its NUL included.
const HELP: usize = 256;

/// The names and help texts as C strings, made at compile time.
pub struct Texts<const N: usize>([([u8; NAME], [u8; HELP]); N]);

impl<const N: usize> Texts<N> {
    /// The texts of `specs`. A text that is too long stops the compilation.
    pub const fn of(specs: &[Spec]) -> Texts<N> {
        let mut texts = [([0; NAME], [0; HELP]); N];
        let mut at = 0;
        while at < N {
            texts[at] = (terminated(specs[at].name), terminated(specs[at].help));
            at += 1;
        }
        Texts(texts)
    }
}

const fn terminated<const L: usize>(text: &str) -> [u8; L] {
    let text = text.as_bytes();
    assert!(
        text.len() < L,
        "a directive's name or help text is too long"
    );
    let mut out = [0; L];
    let mut at = 0;
    while at < text.len() {
        assert!(
            text[at] != 0,
            "a directive's name or help text has a NUL byte"
        );
        out[at] = text[at];
        at += 1;
    }
    out
}

/// httpd's array of commands, with the empty one that ends it.
#[repr(transparent)]
pub struct Commands<const N: usize>([sys::command_rec; N]);

// SAFETY: constant data; the pointers in it point to other statics.
unsafe impl<const N: usize> Sync for Commands<N> {}

impl<const N: usize> Commands<N> {
    /// The commands for `M`'s directives. `N` is one more than their number.
    pub const fn of<M: Module, const T: usize>(texts: &'static Texts<T>) -> Commands<N> {
        assert!(T == M::DIRECTIVES.len() && N == T + 1);
        let mut commands = [const { END }; N];
        let mut at = 0;
        while at < T {
            commands[at] = sys::command_rec {
                name: texts.0[at].0.as_ptr().cast(),
                func: sys::cmd_func {
                    raw_args: Some(set::<M>),
                },
                cmd_data: ptr::without_provenance_mut(at),
                req_override: M::DIRECTIVES[at].scope.overrides(),
                args_how: sys::RAW_ARGS,
                errmsg: texts.0[at].1.as_ptr().cast(),
            };
            at += 1;
        }
        Commands(commands)
    }

    pub(super) const fn as_ptr(&'static self) -> *const sys::command_rec {
        self.0.as_ptr()
    }
}

const END: sys::command_rec = sys::command_rec {
    name: ptr::null(),
    func: sys::cmd_func { no_args: None },
    cmd_data: ptr::null_mut(),
    req_override: 0,
    args_how: sys::NO_ARGS,
    errmsg: ptr::null(),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::tests::with_pool;

    #[test]
    fn a_record_read_back_as_another_type_is_not_there() {
        with_pool(|pool| {
            let slot = Slot::put(pool, 5_u32);
            // SAFETY: just made, and the pool is live.
            unsafe {
                assert!(Slot::<u64>::value(slot).is_none());
                assert_eq!(*Slot::<u32>::value(slot).unwrap(), 5);
                assert!(Slot::<u32>::value(ptr::null_mut()).is_none());
            }
        });
    }

    #[test]
    fn texts_are_terminated() {
        assert_eq!(terminated::<4>("abc"), *b"abc\0");
    }
}
