//! The role of an Apache child: finding the script a URL leads to, and having its request answered
//! by a worker of the script's process group.
//!
//! Runs in: the Apache children, on the thread that serves the request. The hook `translate_name`
//! maps the URL to a script ([`route::mapping`]). The content handler ([`handler`]) then goes on:
//!
//! 1. [`route`] checks the request and picks its process group;
//! 2. [`environ`] writes the WSGI environ into the request message;
//! 3. [`connect`] takes a connection from the pool, or connects to the group's socket;
//! 4. [`relay`] sends the request to the worker and its response to the client, which
//!    [`httpd_client`] implements over httpd's filters.
//!
//! [`hooks`] ask a script by the same way, before the content handler is called, who may enter.
//!
//! [`status`] writes the status pages, from what [`supervisor`] asks the supervisor.
//!
//! [`active_configuration`] is what a child knows of the configuration; the parent makes it before it
//! forks. Between requests a child keeps pooled connections to workers and nothing else.

#![forbid(unsafe_code)]

pub mod active_configuration;
pub mod connect;
pub mod environ;
pub mod handler;
pub mod hooks;
pub mod httpd_body;
pub mod httpd_client;
pub mod relay;
pub mod request_log;
pub mod request_trace;
pub mod route;
pub mod status;
pub mod supervisor;
