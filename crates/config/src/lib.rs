//! What the administrator wrote, and what it means.
//!
//! Runs in: the Apache parent while the configuration is read (setters, [`groups`]), and in Apache
//! children for every request ([`resolved`], [`expand`], [`alias`]). This crate does not know
//! httpd, calls no system function and has no state: it takes text and returns plain values and
//! sentences. Two traits tell it about the machine and the request ([`System`],
//! [`expand::RequestFacts`]).
//!
//! What happens to a directive: a row of [`DIRECTIVES`] names it. The row's setter writes into a
//! record of the per-server or per-directory configuration ([`module_config`]), in which every
//! field is an `Option`, so that a merge is one line per field. When the whole configuration is
//! read, [`groups::resolve_groups`] resolves the process groups and checks every name. For a
//! request, [`resolved`] gives values without `Option`s.

#![forbid(unsafe_code)]

pub mod alias;
pub mod concurrency;
pub mod daemon_options;
pub mod daemon_process;
pub mod directive;
pub mod directives;
pub mod error;
pub mod expand;
pub mod groups;
mod interpreter_options;
pub mod jail;
mod main_interpreter;
pub mod module_config;
pub mod nearest;
pub mod own_group;
pub mod pages;
pub mod place;
pub mod process_group;
pub mod proxies;
pub mod reading;
pub mod resolved;
pub mod system;
pub mod words;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use directive::{apply, Directive, Effect, Scope, Target};
pub use directives::DIRECTIVES;
pub use error::Invalid;
pub use groups::{resolve_groups, Groups, ResolvedGroups};
pub use module_config::{DirectoryConfig, ServerConfig};
pub use place::{Place, VirtualHost};
pub use process_group::{ApacheIdentity, ResolvedGroup};
pub use reading::Reading;
pub use resolved::{Globals, Settings};
pub use system::{Account, AccountGroup, System};
