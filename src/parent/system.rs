//! Answers the configuration's questions about this machine: users, groups, paths.
//!
//! Runs in: the Apache parent while the configuration is read; an Apache child for `.htaccess`.

use std::ffi::CString;

use os::accounts;

use config::concurrency::Concurrency;
use config::{Account, AccountGroup, ApacheIdentity, System};
use httpd::pool::Pool;
use httpd::process;
use httpd::regex::Regex;
use httpd::server;

/// This machine. Paths it makes live as long as the pool, then are copied.
pub struct Machine<'p> {
    pool: Pool<'p>,
}

impl<'p> Machine<'p> {
    /// The machine, with a pool for what httpd has to compose.
    pub fn new(pool: Pool<'p>) -> Machine<'p> {
        Machine { pool }
    }

    /// The account of Apache's children. Known once the whole configuration is read.
    pub fn apache_identity(&self) -> ApacheIdentity {
        let (uid, gid) = if self.is_root() {
            let identity = process::children_identity();
            (identity.uid, identity.gid)
        } else {
            (accounts::effective_uid(), accounts::effective_gid())
        };
        let user = self
            .user_by_id(uid)
            .ok()
            .flatten()
            .unwrap_or_else(|| Account {
                name: format!("#{uid}").into_bytes(),
                uid,
                gid,
                home: Vec::new(),
            });
        ApacheIdentity { user, gid }
    }
}

fn account(user: accounts::User) -> Account {
    Account {
        name: user.name,
        uid: user.uid,
        gid: user.gid,
        home: user.home,
    }
}

fn account_group(group: accounts::Group) -> AccountGroup {
    AccountGroup {
        name: group.name,
        gid: group.gid,
    }
}

/// Converts an answer of the user database.
fn answer<T, U>(found: std::io::Result<Option<T>>, into: fn(T) -> U) -> Result<Option<U>, String> {
    found
        .map(|entry| entry.map(into))
        .map_err(|error| error.to_string())
}

impl System for Machine<'_> {
    fn own_group_concurrency(&self) -> Concurrency {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let mpm = process::mpm();
        Concurrency::of(cores, mpm.max_threads, mpm.max_processes)
    }

    fn user_by_name(&self, name: &[u8]) -> Result<Option<Account>, String> {
        answer(accounts::user_by_name(name), account)
    }

    fn user_by_id(&self, uid: u32) -> Result<Option<Account>, String> {
        answer(accounts::user_by_id(uid), account)
    }

    fn group_by_name(&self, name: &[u8]) -> Result<Option<AccountGroup>, String> {
        answer(accounts::group_by_name(name), account_group)
    }

    fn group_by_id(&self, gid: u32) -> Result<Option<AccountGroup>, String> {
        answer(accounts::group_by_id(gid), account_group)
    }

    fn groups_of(&self, user: &Account, gid: u32) -> Result<Vec<u32>, String> {
        accounts::groups_of(&user.name, gid).map_err(|error| error.to_string())
    }

    fn is_root(&self) -> bool {
        accounts::effective_uid() == 0
    }

    fn max_groups(&self) -> usize {
        accounts::max_groups()
    }

    fn server_root_relative(&self, path: &[u8]) -> Option<Vec<u8>> {
        let path = CString::new(path).ok()?;
        server::root_relative(self.pool, &path).map(<[u8]>::to_vec)
    }

    fn regex_compiles(&self, pattern: &[u8]) -> Result<(), String> {
        Regex::new(pattern).map(drop)
    }
}
