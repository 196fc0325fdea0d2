//! The WSGI adapter: from a request that has been read to the application's call and its response.
//!
//! Runs in: worker processes, on threads that are attached to an interpreter.
//!
//! The files in the order of their imports, each only of those before it:
//! [`send`], [`current`], [`python_functions`], [`names`], [`progress`]; [`events`],
//! [`metrics`], [`response_headers`]; [`start_response`], [`errors`], [`input`], [`native`], [`scripts`];
//! [`state`], which holds what an interpreter keeps of them; [`environ`], [`application`], [`hooks`].

#![forbid(unsafe_code)]

pub mod application;
pub mod current;
pub mod environ;
pub mod errors;
pub mod events;
pub mod hooks;
pub mod input;
pub mod metrics;
pub mod names;
pub mod native;
pub mod progress;
pub mod python_functions;
pub mod response_headers;
pub mod scripts;
pub mod send;
pub mod start_response;
pub mod state;
