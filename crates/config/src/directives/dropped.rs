//! Directives of mod_wsgi 4 that later versions do not have, and that a configuration which has
//! come along since then may hold. They are accepted, change nothing, and are named when Apache
//! starts.
//!
//! Runs in: the Apache parent while the configuration is read.

use crate::directive::{Concern, Directive, Effect, Line, Scope, Setter};
use crate::error::Invalid;
use crate::module_config::GlobalConfig;
use crate::reading::DroppedDirective;

pub const LAZY_INITIALIZATION: Directive = Directive {
    name: "WSGILazyInitialization",
    scope: Scope::Global,
    usage: "WSGILazyInitialization On|Off",
    default: "On",
    concern: Concern::Manner,
    effect: Effect::Never("Python never runs in Apache's parent or children"),
    help: "Of mod_wsgi 4; accepted without effect.",
    doc:
        "In mod_wsgi 4, whether Python was initialised in Apache's children and not already in its \
          parent. mod_wsgi 5 took it away. Here Python starts in the processes of a group alone.",
    example: "WSGILazyInitialization On",
    setter: Setter::Global(|_, line| {
        line.on_off()?;
        note(line);
        Ok(())
    }),
};

pub const NEW_RELIC_CONFIG_FILE: Directive = Directive {
    name: "WSGINewRelicConfigFile",
    scope: Scope::Global,
    usage: "WSGINewRelicConfigFile file",
    default: "none",
    concern: Concern::Manner,
    effect: Effect::Never("New Relic's agent is started by its own programs or by the application"),
    help: "Of mod_wsgi 4; accepted without effect.",
    doc: "In mod_wsgi 4, the configuration of New Relic's agent, which the module started. mod_wsgi 5 \
          took it away: call `newrelic.agent.initialize()` at the top of the script.",
    example: "WSGINewRelicConfigFile /etc/newrelic.ini",
    setter: Setter::Global(accept),
};

pub const NEW_RELIC_ENVIRONMENT: Directive = Directive {
    name: "WSGINewRelicEnvironment",
    scope: Scope::Global,
    usage: "WSGINewRelicEnvironment name",
    default: "none",
    concern: Concern::Manner,
    effect: Effect::Never("New Relic's agent is started by its own programs or by the application"),
    help: "Of mod_wsgi 4; accepted without effect.",
    doc: "In mod_wsgi 4, the section of `WSGINewRelicConfigFile` to use. mod_wsgi 5 took it away: \
          pass it to `newrelic.agent.initialize()` in the script.",
    example: "WSGINewRelicEnvironment staging",
    setter: Setter::Global(accept),
};

fn accept(_: &mut GlobalConfig, line: &mut Line<'_>) -> Result<(), Invalid> {
    line.word()?;
    note(line);
    Ok(())
}

fn note(line: &mut Line<'_>) {
    let why = match line.directive.effect {
        Effect::Never(why) => why,
        _ => "nothing here depends on it",
    };
    line.reading.dropped.push(DroppedDirective {
        name: line.directive.name,
        why,
        place: line.place.clone(),
    });
}
