//! What the administrator wrote, and what it means.
//!
//! Runs in: the Apache parent while the configuration is read (setters, [`groups`]), and in Apache
//! children for every request ([`resolved`], [`expand`], [`alias`]). Nothing here knows httpd,
//! touches the system or keeps state: text goes in, plain values and sentences come out. The layer
//! over httpd passes what has to be asked of the outside ([`System`], [`expand::RequestFacts`]).
//!
//! The way of a directive: a row of [`DIRECTIVES`] names it; its setter writes into a
//! record *as given* ([`module_config`]: all `Option`s, so that merging is one line per field); after the
//! whole configuration is read, [`groups::resolve_groups`] makes the process groups and checks every
//! name. A request asks [`resolved`] for values without `Option`s.

#![forbid(unsafe_code)]

pub mod alias;
pub mod daemon_options;
pub mod daemon_process;
pub mod directive;
pub mod directives;
pub mod error;
pub mod expand;
pub mod groups;
pub mod jail;
mod main_interpreter;
pub mod module_config;
pub mod nearest;
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
