//! The Apache module, `mod_wsgi.so`.
//!
//! Runs in: the Apache parent and its children. The roles by the process that plays them ([`parent`],
//! [`child`]) do not know each other; [`module`] joins them to httpd's hooks. Below them are the crates
//! `httpd` (the safe layer over httpd) and `config` (directives and what they mean).

#![forbid(unsafe_code)]

pub mod child;
pub mod module;
pub mod parent;

httpd::module_record!(module::Wsgi);
