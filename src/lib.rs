//! The Apache module.
