//! Python and its paths.
//!
//! Runs in: the Apache parent while the configuration is read.

use std::time::Duration;

use super::DaemonOption;
use crate::directive::Effect::Now;

pub const OPTIONS: &[DaemonOption] = &[
    DaemonOption {
        name: "python-home",
        value: "absolute path",
        default: "WSGIPythonHome",
        effect: Now,
        doc: "Virtual environment, or installation prefix, of the Python that serves this group: \
              CPython 3.10 or later. Groups of one Apache may have different Pythons.",
        set: |options, value| {
            options.python_home = match value.text() {
                Some(_) => Some(value.absolute_path()?),
                None => None,
            };
            Ok(())
        },
    },
    DaemonOption {
        name: "python-path",
        value: "directories, separated by colons",
        default: "none",
        effect: Now,
        doc: "Directories put in front of `sys.path`; `.pth` files in them are honoured.",
        set: |options, value| {
            options.python_path = value.text().map(|text| directories(&text));
            Ok(())
        },
    },
    DaemonOption {
        name: "python-eggs",
        value: "path",
        default: "none",
        effect: Now,
        doc: "Environment variable PYTHON_EGG_CACHE: where zipped eggs are unpacked.",
        set: |options, value| {
            options.python_eggs = value.text();
            Ok(())
        },
    },
    DaemonOption {
        name: "switch-interval",
        value: "seconds, with decimals",
        default: "Python's, 0.005",
        effect: Now,
        doc: "How long a thread may hold Python's global lock while others wait for it.",
        set: |options, value| {
            let interval = interval(value.text);
            let expected = "seconds above 0, such as 0.005";
            options.switch_interval = Some(interval.ok_or_else(|| value.invalid(expected))?);
            Ok(())
        },
    },
    DaemonOption {
        name: "stack-size",
        value: "bytes",
        default: "the system's",
        effect: Now,
        doc: "Stack of each thread that serves requests.",
        set: |options, value| {
            let size = value.bytes(1)?;
            let expected = "bytes as a whole number above 0";
            options.stack_size = Some(size).filter(|&size| size > 0);
            options
                .stack_size
                .map(|_| ())
                .ok_or_else(|| value.invalid(expected))
        },
    },
];

/// A list of directories as in PATH, without empty entries.
pub fn directories(text: &[u8]) -> Vec<Vec<u8>> {
    let entries = text.split(|&byte| byte == b':');
    entries
        .filter(|entry| !entry.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// Seconds with decimals, above zero, short enough for a `Duration`.
pub fn interval(text: &[u8]) -> Option<Duration> {
    let seconds: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let interval = Duration::try_from_secs_f64(seconds).ok()?;
    (!interval.is_zero()).then_some(interval)
}
