//! The options of `WSGIDaemonProcess`: one row each, with its setter and its documentation, one
//! file per subject.
//!
//! Runs in: the Apache parent while the configuration is read.

mod limits;
mod option;
mod processes;
pub mod python;
mod replacement;
#[cfg(test)]
mod tests;
pub mod transport;

use std::collections::BTreeMap;

use super::daemon_process::{DaemonOptions, DaemonProcess};
use super::directive::Line;
use super::error::{Invalid, Problem};
use super::words::next_pair;

pub use option::{digits, DaemonOption, OptionValue};

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

/// Reads the arguments of a `WSGIDaemonProcess`.
pub fn read_line(line: &mut Line<'_>) -> Result<DaemonProcess, Invalid> {
    let (name, mut rest) = line.first_word()?;
    if name.first() == Some(&b'%') || name.contains(&b'=') {
        let expected = "the name of the process group before any option";
        return Err(line.invalid(&name, expected));
    }
    let mut group = DaemonProcess {
        name,
        options: DaemonOptions::default(),
        as_written: BTreeMap::new(),
        place: line.place.clone(),
    };
    let unknown = |word| line.unknown_option(word, all().map(|option| option.name));
    while let Some((pair, after)) = next_pair(rest).map_err(unknown)? {
        rest = after;
        let Some(option) = all().find(|row| row.name.as_bytes() == pair.option) else {
            return Err(unknown([pair.option, pair.value].join(&b'=')));
        };
        (option.set)(
            &mut group.options,
            &OptionValue {
                option,
                text: &pair.value,
                line,
            },
        )?;
        group
            .as_written
            .entry(option.name)
            .or_default()
            .push(pair.value);
    }
    if group.options.script_user.is_some() && group.options.script_group.is_some() {
        let sentence = "script-user= and script-group= exclude each other; give one of them.";
        return Err(line.refuse(Problem::Because(sentence.into())));
    }
    Ok(group)
}
