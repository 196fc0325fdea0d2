//! Hooks of httpd that a script answers: who may enter, whether a password is right, in which groups
//! a user is, where a request goes.
//!
//! Runs in: an Apache child, on the thread that serves the request. Apache runs no Python, so a worker
//! is asked: one question, one answer, within the limits of its process group ([`question`]). What is
//! no proper answer lets nobody in. A hook whose directive is not given costs a look at the request's
//! settings.

pub mod access;
pub mod authentication;
pub mod dispatch;
pub mod groups;
mod question;
