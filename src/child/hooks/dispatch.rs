//! `WSGIDispatchScript`: which groups and which callable a request gets.
//!
//! Runs in: an Apache child, in the handler, after the checks and before the process group is looked
//! for: `WSGIRestrictProcess` holds for what the script says.

use std::borrow::Cow;

use wire::hook::{Answer, Role};

use config::expand::{RequestFacts, Template};
use config::module_config::{DirectoryConfig, ScriptConfig, ServerConfig};
use config::Settings;
use httpd::request::Request;

use super::question::Question;
use crate::child::active_configuration::ActiveConfiguration;
use crate::child::environ::facts::{self, ComputedNames};

/// A request and what holds for its place.
pub type Asked<'r, 'a> = (
    Request<'r>,
    &'a DirectoryConfig,
    &'a ServerConfig,
    &'a ActiveConfiguration,
);

/// Has the script choose, and writes that into `settings`. The error is the status of a request about
/// which there is no answer: no other code runs in the place of what the script would have chosen.
#[inline(never)]
pub fn choose(
    (request, dir, server, active): Asked<'_, '_>,
    script: &ScriptConfig,
    request_facts: &dyn RequestFacts,
    settings: &mut Settings<'_>,
) -> Result<(), u16> {
    let answer = {
        let names = ComputedNames::of(request);
        let mut facts = facts::gather(request, &names, settings);
        let main = Template::Global;
        let application_group = script.application_group.as_ref().unwrap_or(&main);
        let application_group = application_group.expand_for_script(request_facts);
        facts.process_group = &script.process_group;
        facts.application_group = &application_group;
        let question = Question {
            request,
            script,
            role: Role::Dispatch,
            arguments: &[],
        };
        let answer = question.ask_about(Some(&facts), dir, server, active)?;
        if !matches!(answer.read(), Some(Answer::Choices(_))) {
            return Err(question.is_misunderstood(500));
        }
        answer
    };
    let Some(Answer::Choices([process, application, callable])) = answer.read() else {
        return Err(500);
    };
    let expanded = |name: &[u8]| Template::parse(name).expand(request_facts).into_owned();
    if let Some(name) = process {
        settings.process_group = Cow::Owned(expanded(name));
    }
    if let Some(name) = application {
        settings.application_group = Cow::Owned(expanded(name));
        // What a script makes of a request may be as the client wants it.
        settings.application_group_is_from_client = true;
    }
    if let Some(name) = callable {
        let name = Template::parse(name)
            .expand_callable(request_facts)
            .into_owned();
        settings.callable_object = Cow::Owned(name);
    }
    Ok(())
}
