//! What setters need to know about the machine, as a trait, so that setters are pure functions.
//!
//! Runs in: the Apache parent, while the configuration is read. The layer over httpd implements
//! it; the tests implement another one.

use super::concurrency::Concurrency;

/// A user of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: Vec<u8>,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory as the user database has it; may not exist.
    pub home: Vec<u8>,
}

/// A group of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountGroup {
    /// Its name; `#gid` where the database has none.
    pub name: Vec<u8>,
    /// Group id.
    pub gid: u32,
}

/// The machine and the server process, as far as the configuration depends on them.
///
/// A look-up returns `Ok(None)` if there is no such entry and `Err(reason)` if the database could
/// not be read; the error message shows the reason.
pub trait System {
    /// How much the server's own group does at once unless the configuration says.
    fn own_group_concurrency(&self) -> Concurrency;
    /// The user called `name`.
    fn user_by_name(&self, name: &[u8]) -> Result<Option<Account>, String>;
    /// The user with id `uid`.
    fn user_by_id(&self, uid: u32) -> Result<Option<Account>, String>;
    /// The group called `name`.
    fn group_by_name(&self, name: &[u8]) -> Result<Option<AccountGroup>, String>;
    /// The group with id `gid`.
    fn group_by_id(&self, gid: u32) -> Result<Option<AccountGroup>, String>;
    /// All groups the database gives `user` when its primary group is `gid` (as getgrouplist(3)).
    fn groups_of(&self, user: &Account, gid: u32) -> Result<Vec<u32>, String>;
    /// Whether Apache was started by root: only then can a process change its identity.
    fn is_root(&self) -> bool;
    /// The largest number of supplementary groups a process may have (`NGROUPS_MAX`).
    fn max_groups(&self) -> usize;
    /// `path` made absolute against ServerRoot; `None` when httpd refuses it.
    fn server_root_relative(&self, path: &[u8]) -> Option<Vec<u8>>;
    /// Whether `pattern` compiles as a regular expression of httpd (PCRE); the error is its text.
    fn regex_compiles(&self, pattern: &[u8]) -> Result<(), String>;
}
