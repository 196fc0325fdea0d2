//! The role of an Apache child: finding the script a URL leads to, and having its request answered
//! by a worker of the script's process group.
//!
//! Runs in: the Apache children, on the thread that serves the request. Two hooks begin here:
//! `translate_name` ([`mapping`]) and the handler ([`handler`]), which checks the request
//! ([`checks`]), decides who answers it ([`dispatch`]), writes what the application is told
//! ([`environ`]) and has the conversation with a worker ([`relay`]). Beside them, [`status`] shows how
//! things are.
//!
//! What a child has to know of the configuration is settled once ([`serving::Serving`]); between
//! requests it keeps connections to workers ([`connection_pool`]) and nothing else.

#![forbid(unsafe_code)]

pub mod checks;
pub mod client;
pub mod connection_pool;
pub mod death;
pub mod dial;
pub mod dispatch;
pub mod environ;
pub mod facts;
pub mod forwarded;
pub mod handler;
pub mod mapping;
pub mod refusal;
pub mod relay;
pub mod serving;
pub mod status;
