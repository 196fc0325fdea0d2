//! Whether requests for the main interpreter (`%{GLOBAL}`) can reach a process group.
//!
//! Runs in: the Apache parent, once the configuration is read.
//!
//! A worker gives its main interpreter to the first application group that it needs, because
//! extension modules work best there. It must not do so if requests for `%{GLOBAL}` can also reach
//! the group: two applications would share an interpreter by accident. Which directory sections
//! apply to a request is known only at the request, so the answer is "yes" unless the configuration
//! excludes it.

use super::expand::Template;
use super::place::Place;
use super::reading::{Reading, Route};

/// The groups that one place of the configuration chooses: an alias, or one directory section.
#[derive(Debug, Default)]
struct GroupChoice<'a> {
    process: Vec<&'a Template>,
    application: Vec<&'a Template>,
    server: Option<usize>,
}

/// Whether requests for `%{GLOBAL}` can reach the group called `name`.
pub(super) fn can_get_requests_for_global(name: &[u8], reading: &Reading) -> bool {
    if reading.groups_chosen_by_script {
        return true;
    }
    let is_own = name == wire::own_group::NAME;
    let choices = choices(&reading.routes);
    let leads_here = |process: &&Template| match process {
        Template::Name(other) => **other == *name,
        Template::Global => is_own,
        // The other templates may expand to the name of this group.
        Template::Server | Template::Host | Template::Resource | Template::Env(_) => true,
    };
    let asks = |application: &&Template| {
        matches!(application, Template::Global | Template::Env(_))
            || matches!(application, Template::Name(name) if name.is_empty())
    };
    let here = |choice: &GroupChoice<'_>| match choice.process.is_empty() {
        true => is_own,
        false => choice.process.iter().any(leads_here),
    };
    let global = |choice: &GroupChoice<'_>| choice.application.iter().any(asks);
    // A place that does not choose a group inherits the choice of any other place that may apply to
    // the same request.
    let together = |a: &GroupChoice<'_>, b: &GroupChoice<'_>| {
        a.server.is_none() || b.server.is_none() || a.server == b.server
    };
    let elsewhere = |one: &GroupChoice<'_>, says: &dyn Fn(&GroupChoice<'_>) -> bool| {
        choices
            .iter()
            .any(|other| together(one, other) && says(other))
    };
    choices.iter().any(|choice| {
        (here(choice) && global(choice))
            || (here(choice) && choice.application.is_empty() && elsewhere(choice, &global))
            || (global(choice) && choice.process.is_empty() && elsewhere(choice, &here))
    })
}

/// Gathers what belongs to the same section.
fn choices(routes: &[Route]) -> Vec<GroupChoice<'_>> {
    let mut choices: Vec<(Option<&Place>, GroupChoice<'_>)> = Vec::new();
    for route in routes {
        // Two sections with the same path apply to the same files. For other sections (<If>,
        // <Files> with a pattern) this is not known, so each of their directives counts by itself.
        let section = Some(&route.place).filter(|place| {
            let directory = place.directory.as_deref();
            let whole = directory.is_none_or(|path| path.trim_matches('"').starts_with('/'));
            whole && matches!(route.directive, "WSGIProcessGroup" | "WSGIApplicationGroup")
        });
        let same = |other: &Place, place: &Place| {
            other.directory == place.directory && other.server() == place.server()
        };
        let known = choices.iter().position(|(other, _)| {
            matches!((other, section), (Some(other), Some(place)) if same(other, place))
        });
        let at = known.unwrap_or_else(|| {
            let server = route.place.server();
            choices.push((
                section,
                GroupChoice {
                    server,
                    ..GroupChoice::default()
                },
            ));
            choices.len() - 1
        });
        let choice = &mut choices[at].1;
        choice.process.extend(&route.process_group);
        choice.application.extend(&route.application_group);
    }
    choices.into_iter().map(|(_, choice)| choice).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::TestConfiguration;

    fn reached(text: &str) -> bool {
        let configuration = TestConfiguration::of(&format!("WSGIDaemonProcess shop\n{text}"));
        configuration
            .resolve_groups()
            .groups
            .find(b"shop")
            .unwrap()
            .process_group
            .global_reachable
    }

    #[test]
    fn an_alias_says_so_by_itself() {
        let alias = "WSGIScriptAlias / /a";
        assert!(reached(&format!(
            "{alias} process-group=shop application-group=%{{GLOBAL}}"
        )));
        assert!(!reached(&format!(
            "{alias} process-group=shop application-group=x"
        )));
        assert!(!reached(&format!("{alias} process-group=shop")));
        assert!(!reached(&format!(
            "{alias} process-group=blog application-group=%{{GLOBAL}}"
        )));
        assert!(reached(&format!(
            "{alias} process-group=%{{SERVER}} application-group=%{{GLOBAL}}"
        )));
        assert!(!reached(&format!(
            "{alias} process-group=%{{GLOBAL}} application-group=%{{GLOBAL}}"
        )));
    }

    #[test]
    fn a_directory_that_says_both_is_taken_at_its_word() {
        assert!(reached(
            "<Directory /srv/shop>
            WSGIProcessGroup shop
            WSGIApplicationGroup %{GLOBAL}
            </Directory>"
        ));
        assert!(!reached(
            "<Directory /srv/shop>
            WSGIProcessGroup shop
            WSGIApplicationGroup shop
            </Directory>
            <Directory /srv/blog>
            WSGIProcessGroup blog
            WSGIApplicationGroup %{GLOBAL}
            </Directory>"
        ));
    }

    #[test]
    fn what_one_place_leaves_open_another_may_say() {
        assert!(reached(
            "WSGIApplicationGroup %{GLOBAL}
            <Directory /srv/shop>
            WSGIProcessGroup shop
            </Directory>"
        ));
        assert!(reached(
            "WSGIProcessGroup shop
            <Directory /srv/shop>
            WSGIApplicationGroup %{ENV:X}
            </Directory>"
        ));
        assert!(reached(
            "WSGIScriptAlias / /a process-group=shop
            WSGIApplicationGroup %{GLOBAL}"
        ));
        assert!(!reached(
            "WSGIProcessGroup shop\nWSGIApplicationGroup %{SERVER}"
        ));
    }

    #[test]
    fn virtual_hosts_do_not_mix() {
        let other = "<VirtualHost blog.example.com *>
            WSGIApplicationGroup %{GLOBAL}
            </VirtualHost>\n";
        let shop = "WSGIProcessGroup shop";
        assert!(!reached(&format!(
            "{other}<VirtualHost shop.example.com *>\n{shop}\n</VirtualHost>"
        )));
        assert!(reached(&format!("{other}{shop}")));
    }

    #[test]
    fn a_dispatch_script_may_send_anything_anywhere() {
        assert!(reached(
            "WSGIDispatchScript /srv/dispatch.py process-group=other"
        ));
    }
}
