//! The WSGI adapter: from a request that has been read to the application's call and its response.
//!
//! Runs in: worker processes, on threads that are attached to an interpreter.

pub mod application;
pub mod environ;
pub mod errors;
pub mod events;
pub mod input;
pub mod native;
pub mod scripts;
pub mod start_response;
pub mod state;
