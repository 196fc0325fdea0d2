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
use super::reading::{Reading, Route};

/// What one place of the configuration says: an alias, or one directory section.
#[derive(Debug, Default)]
struct Saying<'a> {
    process: Vec<&'a Template>,
    application: Vec<&'a Template>,
    server: Option<usize>,
}

/// Whether the group called `name` can be asked for `%{GLOBAL}`.
pub(super) fn can_be_asked_of(name: &[u8], reading: &Reading) -> bool {
    if reading.groups_chosen_by_script {
        return true;
    }
    let sayings = sayings(&reading.routes);
    let leads_here = |process: &&Template| match process {
        Template::Name(other) => **other == *name,
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
        assert!(reached("WSGIDispatchScript /srv/dispatch.py"));
    }
}
