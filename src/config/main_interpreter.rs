//! Whether requests for the main interpreter (`%{GLOBAL}`) can reach a process group.
//!
//! Runs in: the Apache parent, once the configuration is read.
//!
//! A worker gives its main interpreter to the first application group it meets, since extension
//! modules work best there; but not in a group that may also be asked for `%{GLOBAL}`, or two
//! applications would share an interpreter by accident. Which directory sections apply to a
//! request together is known only when it comes, so the answer is on the safe side: "yes" unless
//! the configuration rules it out.

use super::expand::Template;
use super::place::Place;
use super::process_group::ProcessGroup;
use super::reading::{Reading, Route};

/// What one place of the configuration says: an alias, or one directory section.
#[derive(Debug, Default)]
struct Saying<'a> {
    process: Vec<&'a Template>,
    application: Vec<&'a Template>,
    server: Option<usize>,
}

/// Whether `group` can be asked for `%{GLOBAL}`.
pub(super) fn can_be_asked_of(group: &ProcessGroup, reading: &Reading) -> bool {
    if reading.groups_chosen_by_script {
        return true;
    }
    let sayings = sayings(&reading.routes);
    let leads_here = |process: &&Template| match process {
        Template::Name(name) => **name == group.name[..],
        Template::Global => false,
        // Whatever a request makes of the others may be the name of this group.
        Template::Server | Template::Host | Template::Resource | Template::Env(_) => true,
    };
    let asks = |application: &&Template| {
        matches!(application, Template::Global | Template::Env(_))
            || matches!(application, Template::Name(name) if name.is_empty())
    };
    let here = |saying: &Saying<'_>| saying.process.iter().any(leads_here);
    let global = |saying: &Saying<'_>| saying.application.iter().any(asks);
    // What a place does not say itself, it takes from any other that may apply with it.
    let together = |a: &Saying<'_>, b: &Saying<'_>| {
        a.server.is_none() || b.server.is_none() || a.server == b.server
    };
    let elsewhere = |one: &Saying<'_>, says: &dyn Fn(&Saying<'_>) -> bool| {
        sayings
            .iter()
            .any(|other| together(one, other) && says(other))
    };
    sayings.iter().any(|saying| {
        (here(saying) && global(saying))
            || (here(saying) && saying.application.is_empty() && elsewhere(saying, &global))
            || (global(saying) && saying.process.is_empty() && elsewhere(saying, &here))
    })
}

/// Gathers what belongs to the same section.
fn sayings(routes: &[Route]) -> Vec<Saying<'_>> {
    let mut sayings: Vec<(Option<&Place>, Saying<'_>)> = Vec::new();
    for route in routes {
        // Two sections of the same path hold for the same files. Of other sections (<If>, <Files>
        // with a pattern) that cannot be said, so each of their directives stands alone.
        let section = Some(&route.place).filter(|place| {
            let directory = place.directory.as_deref();
            let whole = directory.is_none_or(|path| path.trim_matches('"').starts_with('/'));
            whole && matches!(route.directive, "WSGIProcessGroup" | "WSGIApplicationGroup")
        });
        let same = |other: &Place, place: &Place| {
            other.directory == place.directory && other.server() == place.server()
        };
        let known = sayings.iter().position(|(other, _)| {
            matches!((other, section), (Some(other), Some(place)) if same(other, place))
        });
        let at = known.unwrap_or_else(|| {
            let server = route.place.server();
            sayings.push((
                section,
                Saying {
                    server,
                    ..Saying::default()
                },
            ));
            sayings.len() - 1
        });
        let saying = &mut sayings[at].1;
        saying.process.extend(&route.process_group);
        saying.application.extend(&route.application_group);
    }
    sayings.into_iter().map(|(_, saying)| saying).collect()
}
