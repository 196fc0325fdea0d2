//! The Python side of mod_wsgi: interpreters, environ, streams, the WSGI adapter, the worker loop.
//!
//! A Python extension for every CPython from 3.10 on. A worker process is that Python itself,
//! started by the supervisor with a line that imports this library and calls `main()`.
//!
//! | module | holds |
//! |---|---|
//! | [`exchange`] | one request and its answer, without Python: what may be said when |
//! | [`python`] | the door to Python, the only unsafe code |
//! | [`worker`] | the process: threads, the connections they take, coming up and leaving |
//! | [`process_log`] | descriptor 2 |
//! | [`scoreboard`] | what the supervisor can see of it |
//! | [`fork`] | what a process forked by the application must leave alone |

pub mod exchange;
pub mod fork;
pub mod process_log;
pub mod python;
pub mod scoreboard;
pub mod worker;
