//! The door to libc.
