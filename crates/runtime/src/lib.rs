//! The Python side of mod_wsgi: interpreters, environ, streams, the WSGI adapter, the worker loop.
//!
//! A Python extension for every CPython from 3.10 on. A worker process is that Python itself,
//! started by the supervisor with a line that imports this library and calls `main()`.
//!
//! | floor | holds |
//! |---|---|
//! | [`process`] | what belongs to the whole process: descriptor 2, the scoreboard, forks |
//! | [`python`] | safe types over CPython's C API, the only unsafe code |
//! | [`exchange`] | one request and its response, without Python |
//! | [`wsgi`] | the WSGI adapter: environ, streams, the application's call, its scripts |
//! | [`worker`] | threads, the connections they take, limits, start and end of the process |
//!
//! A floor imports only those above it in this list; `scripts/floors` checks it.

pub mod exchange;
pub mod process;
pub mod python;
pub mod worker;
pub mod wsgi;

extension_module!(worker::run);
