//! The Apache module, `mod_wsgi.so`.
//!
//! Runs in: the Apache parent and its children. Floors, each importing only those above it in this
//! list: [`apache`] (the safe layer over httpd, the only unsafe code), [`config`] (directives and
//! what they mean), the roles by the process that plays them ([`parent`], [`child`]), and [`module`],
//! which joins them to httpd's hooks.

pub mod apache;
pub mod child;
pub mod config;
pub mod module;
pub mod parent;

apache::hooks::module_record!(module::Wsgi);
