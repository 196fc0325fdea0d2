//! Which process group answers a request.
//!
//! Runs in: an Apache child, in the handler, after the checks.

use wire::own_group;

use config::{Groups, ResolvedGroup, Settings};
use httpd::request::Request;

use super::rejection::Rejection;

/// The virtual host of a request, by which a process group decides whether it may be used.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// The virtual host; `None` is the main server.
    pub id: Option<usize>,
    /// Its ServerName.
    pub name: Option<&'a [u8]>,
}

impl<'r> Host<'r> {
    /// The server that `request` came to.
    pub fn of(request: Request<'r>) -> Host<'r> {
        let server = request.server();
        Host {
            id: server.is_virtual().then(|| server.id()),
            name: server.name(),
        }
    }
}

/// Finds the process group that `settings` name and that `host` may use. `restrict_embedded` keeps
/// requests out of the server's own group.
pub fn process_group<'a>(
    settings: &Settings<'_>,
    groups: &'a Groups,
    host: Host<'_>,
    restrict_embedded: bool,
) -> Result<&'a ResolvedGroup, Rejection> {
    let name = &settings.process_group[..];
    if !settings.process_group_allowed() {
        return Err(Rejection::GroupRestricted(name.to_vec()));
    }
    if name == own_group::NAME && restrict_embedded {
        return Err(Rejection::OwnGroupRestricted);
    }
    usable_group(name, groups, host)
}

/// Finds the process group `name`, if `host` may use it and it answers requests.
pub fn usable_group<'a>(
    name: &[u8],
    groups: &'a Groups,
    host: Host<'_>,
) -> Result<&'a ResolvedGroup, Rejection> {
    let Some(group) = groups.find(name) else {
        if name == own_group::NAME {
            return Err(Rejection::NoOwnGroup);
        }
        return Err(Rejection::GroupUnknown(groups.undefined_sentence(name)));
    };
    if !group.usable_from(host.id, host.name) {
        return Err(Rejection::GroupOfOtherHost(
            name.to_vec(),
            group.place.to_string(),
        ));
    }
    if group.process_group.threads == 0 {
        return Err(Rejection::GroupServesNothing(name.to_vec()));
    }
    Ok(group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::resolved::Overrides;
    use config::testing::TestConfiguration;
    use std::borrow::Cow;
    use wire::log_id::{
        LogId, GROUP_OF_OTHER_HOST, GROUP_RESTRICTED, GROUP_UNKNOWN, GROUP_WITHOUT_THREADS,
        OWN_GROUP_NOT_STARTED, OWN_GROUP_RESTRICTED,
    };

    /// A request about which nothing is known: the groups of these tests are fixed names.
    struct Nothing;

    impl config::expand::RequestFacts for Nothing {
        fn server_hostname(&self) -> Cow<'_, [u8]> {
            Cow::Borrowed(b"shop.example.com")
        }
        fn host(&self) -> Option<Cow<'_, [u8]>> {
            None
        }
        fn port(&self) -> u16 {
            80
        }
        fn script_name(&self) -> Cow<'_, [u8]> {
            Cow::Borrowed(b"")
        }
        fn port_is_configured(&self) -> bool {
            true
        }
        fn host_is_configured(&self) -> bool {
            true
        }
        fn script_name_is_configured(&self) -> bool {
            true
        }
        fn env_is_of_request(&self, _: &[u8]) -> bool {
            false
        }
        fn env(&self, _: &[u8]) -> Option<Cow<'_, [u8]>> {
            None
        }
    }

    /// The group of a request to host `at` of `lines`, in the first directory section.
    fn group(lines: &str, at: Option<usize>) -> Result<String, (u16, LogId)> {
        let read = TestConfiguration::of(lines);
        let resolved = read.resolve_groups();
        let server = at.map_or(&read.main, |at| &read.hosts[at].config);
        let merged = server.merged_over(&read.main);
        let dir = read.directories.first().map(|(_, dir)| dir.clone());
        let dir = dir.unwrap_or_default();
        let settings = Settings::resolve(&dir, &merged, Overrides::default(), &Nothing);
        let host = Host {
            id: at,
            name: at.and_then(|at| read.hosts[at].name).map(str::as_bytes),
        };
        let restricted = read.main.global.restrict_embedded == Some(true);
        match process_group(&settings, &resolved.groups, host, restricted) {
            Ok(group) => Ok(String::from_utf8_lossy(&group.process_group.name).into_owned()),
            Err(rejection) => Err((rejection.status(), rejection.id())),
        }
    }

    #[test]
    fn a_request_goes_to_the_group_that_is_named() {
        let lines = "WSGIDaemonProcess shop\nWSGIProcessGroup shop";
        assert_eq!(group(lines, None), Ok("shop".into()));
        for lines in [
            "WSGIScriptAlias / /a.wsgi",
            "WSGIProcessGroup %{GLOBAL}\nWSGIRestrictProcess %{GLOBAL}",
            "WSGIDaemonProcess %{GLOBAL} threads=2",
        ] {
            assert_eq!(group(lines, None), Ok(String::new()), "{lines}");
        }
        let lines = "WSGIDaemonProcess shop\n<Directory /srv>\nWSGIProcessGroup shop\n</Directory>";
        assert_eq!(group(lines, None), Ok("shop".into()));
    }

    #[test]
    fn a_group_that_is_missing_unknown_or_forbidden_is_an_error_of_its_own() {
        for (lines, id) in [
            // A handler that nobody could know of leads here.
            ("WSGIDaemonProcess shop", OWN_GROUP_NOT_STARTED),
            (
                "WSGIProcessGroup %{GLOBAL}\nWSGIRestrictEmbedded On",
                OWN_GROUP_RESTRICTED,
            ),
            (
                "WSGIImportScript /a.py process-group=%{GLOBAL} application-group=x
                WSGIRestrictEmbedded On",
                OWN_GROUP_RESTRICTED,
            ),
            (
                "WSGIProcessGroup %{GLOBAL}\nWSGIRestrictProcess shop",
                GROUP_RESTRICTED,
            ),
            (
                "WSGIDaemonProcess shop\nWSGIProcessGroup shpo",
                GROUP_UNKNOWN,
            ),
            (
                "WSGIDaemonProcess shop threads=0\nWSGIProcessGroup shop",
                GROUP_WITHOUT_THREADS,
            ),
            (
                "WSGIDaemonProcess shop\nWSGIProcessGroup shop\nWSGIRestrictProcess blog",
                GROUP_RESTRICTED,
            ),
        ] {
            assert_eq!(group(lines, None), Err((500, id)), "{lines}");
        }
    }

    #[test]
    fn a_group_of_a_virtual_host_is_for_hosts_of_the_same_name() {
        let lines = "<VirtualHost a.example.com *:80>
            WSGIDaemonProcess shop
            </VirtualHost>
            <VirtualHost a.example.com *:443>
            WSGIProcessGroup shop
            </VirtualHost>
            <VirtualHost b.example.com *:80>
            WSGIProcessGroup shop
            </VirtualHost>";
        assert_eq!(group(lines, Some(1)), Ok("shop".into()));
        assert_eq!(group(lines, Some(2)), Err((500, GROUP_OF_OTHER_HOST)));
    }
}
