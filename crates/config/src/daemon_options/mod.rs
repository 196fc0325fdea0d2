//! The options of `WSGIDaemonProcess`: one row each, with its setter and its documentation, one
//! file per subject.
//!
//! Runs in: the Apache parent while the configuration is read.

mod limits;
mod processes;
pub mod python;
mod replacement;
pub mod transport;

use super::daemon_process::DaemonOption;

/// Every option, in the order of the documentation.
pub fn all() -> impl Iterator<Item = &'static DaemonOption> {
    [
        processes::OPTIONS,
        python::OPTIONS,
        replacement::OPTIONS,
        transport::OPTIONS,
        limits::OPTIONS,
    ]
    .into_iter()
    .flatten()
}
