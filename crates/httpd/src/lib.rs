//! The safe layer over httpd and APR: the only place of this crate with unsafe code.
//!
//! Runs in: the Apache parent and its children, on whatever thread httpd calls us.
//!
//! Each structure that httpd passes to a hook becomes a view with a lifetime ([`request::Request`],
//! [`server::Server`], [`pool::Pool`]...), created only in the hook's own thunk. Views are small
//! copies of a pointer; they cannot leave their thread nor outlive the call. The raw declarations
//! ([`sys`]) are private to this folder.

pub mod authentication;
pub mod connection;
mod directive_tree;
pub mod directives;
pub mod hooks;
pub mod keep_alive_wait;
pub mod log;
mod panic_wall;
pub mod pool;
pub mod process;
pub mod regex;
pub mod request;
pub mod request_body;
pub mod response_writer;
pub mod server;
mod sys;
pub mod table;
