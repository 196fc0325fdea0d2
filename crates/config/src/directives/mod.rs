//! The rows of the directive table, each beside its setter, one file per subject.
//!
//! Runs in: the Apache parent while the configuration is read; a child for `.htaccess`.

pub mod access;
pub mod daemon;
pub mod dropped;
pub mod mapping;
pub mod python;
pub mod requests;
pub mod telemetry;
#[cfg(test)]
mod tests;

use super::directive::{on_off, Line};
use super::error::{Invalid, Problem};
use super::expand::Template;
use super::reading::Route;
use super::words::next_pair;

/// Options that follow the main arguments of a directive about a script. Which of them a
/// directive takes is its own business: see [`script_options`].
#[derive(Default)]
struct ScriptOptions {
    process_group: Option<Template>,
    application_group: Option<Template>,
    callable_object: Option<Vec<u8>>,
    pass_authorization: Option<bool>,
}

const PROCESS_GROUP_OPTION: &str = "process-group";
const APPLICATION_GROUP_OPTION: &str = "application-group";
const CALLABLE_OBJECT_OPTION: &str = "callable-object";
const PASS_AUTHORIZATION_OPTION: &str = "pass-authorization";

/// Reads the `option=value` pairs in `rest`; only the options in `allowed` are known.
fn script_options(
    line: &Line<'_>,
    mut rest: &[u8],
    allowed: &[&'static str],
) -> Result<ScriptOptions, Invalid> {
    let mut options = ScriptOptions::default();
    let unknown = |word| line.unknown_option(word, allowed.iter().copied());
    while let Some((pair, after)) = next_pair(rest).map_err(unknown)? {
        rest = after;
        let Some(&option) = allowed.iter().find(|name| name.as_bytes() == pair.option) else {
            return Err(unknown([pair.option, pair.value].join(&b'=')));
        };
        let refuse = |expected: &'static str| {
            let value = pair.value.clone();
            line.refuse(Problem::OptionValue {
                option,
                value,
                expected: expected.into(),
            })
        };
        if pair.value.is_empty() {
            return Err(refuse(
                "a value; %{GLOBAL} stands for the empty name of a group",
            ));
        }
        match option {
            PROCESS_GROUP_OPTION => options.process_group = Some(Template::parse(&pair.value)),
            APPLICATION_GROUP_OPTION => {
                options.application_group = Some(Template::parse(&pair.value))
            }
            CALLABLE_OBJECT_OPTION => options.callable_object = Some(pair.value),
            _ => {
                let flag = on_off(&pair.value).ok_or_else(|| refuse("On or Off"))?;
                options.pass_authorization = Some(flag);
            }
        }
    }
    Ok(options)
}

/// Notes for the checks after the whole configuration that this directive sends requests to
/// these groups; `None` leaves the choice to other directives.
fn note_route(line: &mut Line<'_>, process: Option<&Template>, application: Option<&Template>) {
    line.reading.routes.push(Route {
        directive: line.directive.name,
        process_group: process.cloned(),
        application_group: application.cloned(),
        place: line.place.clone(),
    });
}
