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

use wire::own_group;

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
    let (mut name, mut rest) = line.first_word()?;
    if name == own_group::SHOWN {
        name = own_group::NAME.to_vec();
    } else if name.is_empty() || name.first() == Some(&b'%') || name.contains(&b'=') {
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
    if group.is_own() {
        check_own(&group, line)?;
    }
    Ok(group)
}

/// Refuses what the server's own group cannot have: it serves whatever Apache's children are
/// asked for, and as their user.
fn check_own(group: &DaemonProcess, line: &Line<'_>) -> Result<(), Invalid> {
    let options = &group.options;
    let refuse = |sentence: &str| Err(line.refuse(Problem::Because(sentence.to_owned())));
    if group.place.server().is_some() {
        return refuse(
            "%{GLOBAL} is the process group of the whole server; write the line outside of \
             <VirtualHost>.",
        );
    }
    for (option, is_given) in [
        ("user=", options.user.is_some()),
        ("group=", options.group.is_some()),
        (
            "supplementary-groups=",
            options.supplementary_groups.is_some(),
        ),
        ("chroot=", options.chroot.is_some()),
    ] {
        if is_given {
            return refuse(&format!(
                "{option} is not for %{{GLOBAL}}, which runs as Apache's User and Group and sees \
                 what they see. Define a group with a name, and lead requests there with \
                 WSGIProcessGroup."
            ));
        }
    }
    if options.threads == Some(0) {
        return refuse("%{GLOBAL} serves requests, so threads= is at least 1.");
    }
    Ok(())
}
