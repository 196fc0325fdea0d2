use super::super::testing::TestConfiguration;
use super::*;

fn refusals(text: &str) -> Vec<String> {
    TestConfiguration::of(text).resolve_groups().refusals
}

fn warnings(text: &str) -> Vec<String> {
    let resolved = TestConfiguration::of(text).resolve_groups();
    assert_eq!(resolved.refusals, Vec::<String>::new());
    resolved.warnings
}

#[test]
fn groups_are_numbered_in_the_order_of_the_file() {
    let configuration = TestConfiguration::of(
        "<VirtualHost b.example.com *:80>
        WSGIDaemonProcess blog
        </VirtualHost>
        WSGIDaemonProcess shop",
    );
    let groups = configuration.resolve_groups().groups;
    let ids: Vec<_> = groups
        .all()
        .iter()
        .map(|group| (group.process_group.id, &group.process_group.name[..]))
        .collect();
    assert_eq!(ids, [(1, &b"blog"[..]), (2, b"shop")]);
    assert_eq!(groups.find(b"shop").unwrap().process_group.id, 2);
    assert_eq!(groups.find(b"none"), None);
}

#[test]
fn a_name_that_nobody_defines_is_warned_about_with_the_nearest() {
    assert_eq!(
        warnings(
            "WSGIDaemonProcess shop
            WSGIDaemonProcess blog
            <Directory /srv/shop>
            WSGIProcessGroup shpo
            </Directory>"
        ),
        [
            "shop.conf:4 uses process group \"shpo\", which is not defined. Defined groups: \
             \"shop\" (shop.conf:1), \"blog\" (shop.conf:2). Did you mean \"shop\"? Requests \
             that go there get 500."
        ],
    );
    assert_eq!(
        warnings("WSGIScriptAlias / /srv/app.wsgi process-group=app"),
        [
            "shop.conf:1 uses process group \"app\", which is not defined. No \
             WSGIDaemonProcess defines any group. Requests that go there get 500."
        ],
    );
}

#[test]
fn names_that_depend_on_the_request_are_not_warned_about() {
    let text = "WSGIProcessGroup %{ENV:GROUP}
        WSGIProcessGroup %{SERVER}
        WSGIProcessGroup %{GLOBAL}";
    assert_eq!(warnings(text), Vec::<String>::new());
}

#[test]
fn the_order_of_definition_and_use_does_not_matter() {
    let configuration = TestConfiguration::of(
        "WSGIScriptAlias / /srv/app.wsgi process-group=shop application-group=%{GLOBAL}
        WSGIImportScript /srv/warm.py process-group=shop application-group=cache
        WSGIScriptAlias /again /srv/app.wsgi process-group=shop application-group=%{GLOBAL}
        WSGIDaemonProcess shop",
    );
    let resolved = configuration.resolve_groups();
    assert_eq!((&resolved.refusals, &resolved.warnings), (&vec![], &vec![]));
    let preload = &resolved.groups.find(b"shop").unwrap().process_group.preload;
    let expected = [
        ("/srv/app.wsgi".into(), "".into()),
        ("/srv/warm.py".into(), "cache".into()),
    ];
    assert_eq!(preload[..], expected);
}

#[test]
fn scripts_are_preloaded_by_their_path_inside_the_chroot() {
    let configuration = TestConfiguration::of(
        "WSGIDaemonProcess shop chroot=/jail
        WSGIImportScript /jail/srv/warm.py process-group=shop application-group=a
        WSGIImportScript /srv/outside.py process-group=shop application-group=a",
    );
    let resolved = configuration.resolve_groups();
    assert_eq!(resolved.refusals, Vec::<String>::new());
    let group = &resolved.groups.find(b"shop").unwrap().process_group;
    assert_eq!(group.preload[..], [("/srv/warm.py".into(), "a".into())]);
}

#[test]
fn a_script_is_loaded_early_only_when_no_request_can_change_file_or_groups() {
    for (alias, early) in [
        (
            "WSGIScriptAlias / /a process-group=shop application-group=x",
            true,
        ),
        (
            "WSGIScriptAlias / /a process-group=shop application-group=%{GLOBAL}",
            true,
        ),
        (
            "WSGIScriptAliasMatch ^/a /a process-group=shop application-group=x",
            true,
        ),
        (
            "WSGIScriptAliasMatch ^/(a) /$1 process-group=shop application-group=x",
            false,
        ),
        // In a plain alias a dollar is a dollar.
        (
            "WSGIScriptAlias / /a$1 process-group=shop application-group=x",
            true,
        ),
        ("WSGIScriptAlias / /a process-group=shop", false),
        ("WSGIScriptAlias / /a application-group=x", false),
        (
            "WSGIScriptAlias / /a process-group=shop application-group=%{RESOURCE}",
            false,
        ),
        (
            "WSGIScriptAlias / /a process-group=%{SERVER} application-group=x",
            false,
        ),
    ] {
        let resolved =
            TestConfiguration::of(&format!("WSGIDaemonProcess shop\n{alias}")).resolve_groups();
        let preload = &resolved.groups.find(b"shop").unwrap().process_group.preload;
        assert_eq!(preload.len(), usize::from(early), "{alias}");
    }
    let text = "WSGIScriptAlias / /a process-group=%{GLOBAL} application-group=x";
    let groups = TestConfiguration::of(text).resolve_groups().groups;
    let own = groups.find(b"").unwrap();
    assert_eq!(own.process_group.preload, [("/a".into(), "x".into())]);
}

#[test]
fn a_script_cannot_be_loaded_in_a_group_that_is_not_there() {
    assert_eq!(
        refusals(
            "WSGIDaemonProcess shop
            WSGIScriptAlias / /srv/a.wsgi process-group=shp application-group=%{GLOBAL}"
        ),
        [
            "shop.conf:2 WSGIScriptAlias loads a script in process group \"shp\", which is \
             not defined. Defined groups: \"shop\" (shop.conf:1). Did you mean \"shop\"?"
        ],
    );
}

#[test]
fn a_group_of_a_virtual_host_is_for_its_server_name() {
    let group = "<VirtualHost b.example.com *:443>
        WSGIDaemonProcess shop
        </VirtualHost>\n";
    let preloading = "WSGIScriptAlias / /a process-group=shop application-group=x";
    for (host, right) in [
        ("b.example.com *:80", true),
        ("B.example.com *:80", true),
        ("a.example.com *:80", false),
        ("- *:80", false),
    ] {
        let text = format!("{group}<VirtualHost {host}>\n{preloading}\n</VirtualHost>");
        assert_eq!(refusals(&text).is_empty(), right, "{host}");
        let text = format!("{group}<VirtualHost {host}>\nWSGIProcessGroup shop\n</VirtualHost>");
        assert_eq!(warnings(&text).is_empty(), right, "{host}");
    }
    assert_eq!(
        refusals(&format!(
            "{group}<VirtualHost a.example.com *:80>\n{preloading}"
        )),
        [
            "shop.conf:5 WSGIScriptAlias: process group \"shop\" is defined inside \
             b.example.com (<VirtualHost *:443>) (shop.conf:2) and cannot be used from \
             a.example.com (<VirtualHost *:80>). Define it outside of <VirtualHost>."
        ],
    );
    assert_eq!(refusals(&format!("{group}{preloading}")).len(), 1);
    // A section of the main server holds in every virtual host, so also in the right one.
    let text = format!("{group}<Directory /srv>\nWSGIProcessGroup shop\n</Directory>");
    assert_eq!(warnings(&text), Vec::<String>::new());
}

#[test]
fn reach_is_asked_by_identity_and_by_name() {
    let configuration = TestConfiguration::of(
        "WSGIDaemonProcess all
        <VirtualHost - *:443>
        WSGIDaemonProcess nameless
        </VirtualHost>
        <VirtualHost b.example.com *:443>
        WSGIDaemonProcess shop
        </VirtualHost>",
    );
    let groups = configuration.resolve_groups().groups;
    let usable = |name: &[u8], id, host: Option<&str>| {
        groups
            .find(name)
            .unwrap()
            .usable_from(id, host.map(str::as_bytes))
    };
    assert!(usable(b"all", None, None) && usable(b"all", Some(7), Some("x")));
    assert!(usable(b"nameless", Some(0), None) && !usable(b"nameless", Some(1), None));
    assert!(usable(b"shop", Some(1), None) && usable(b"shop", Some(7), Some("B.example.com")));
    assert!(!usable(b"shop", None, Some("main.example.com")) && !usable(b"shop", None, None));
}

#[test]
fn a_copied_virtual_host_may_repeat_its_group() {
    let configuration = TestConfiguration::of(
        "<VirtualHost shop.example.com *:80>
        WSGIDaemonProcess shop threads=5 home='/srv/shop'
        </VirtualHost>
        <VirtualHost shop.example.com *:443>
        WSGIDaemonProcess shop   threads=5 home=/srv/shop
        </VirtualHost>",
    );
    let resolved = configuration.resolve_groups();
    assert_eq!(resolved.refusals, Vec::<String>::new());
    let [shop] = resolved.groups.all() else {
        panic!("one group")
    };
    assert!(shop.usable_from(Some(0), None) && shop.usable_from(Some(1), None));
    assert_eq!(shop.place.line, 2);
}

#[test]
fn a_group_defined_twice_names_both_places() {
    assert_eq!(
        refusals(
            "<VirtualHost shop.example.com *:80>
            WSGIDaemonProcess shop threads=15 user=ann
            </VirtualHost>
            <VirtualHost shop.example.com *:443>
            WSGIDaemonProcess shop threads=5 user=ann home=/srv/shop
            </VirtualHost>"
        ),
        [
            "Process group \"shop\" is defined twice with different options: shop.conf:2 (no \
             home=, threads=15) and shop.conf:5 (home=/srv/shop, threads=5). Keep one, \
             outside of <VirtualHost>, or give one another name. (Identical definitions are \
             accepted.)"
        ],
    );
}

#[test]
fn hosts_of_different_names_do_not_share_a_group_by_accident() {
    let two = |one: &str, other: &str| {
        refusals(&format!(
            "<VirtualHost {one} *:80>
            WSGIDaemonProcess app
            </VirtualHost>
            <VirtualHost {other} *:80>
            WSGIDaemonProcess app
            </VirtualHost>"
        ))
    };
    assert_eq!(
        two("a.example.com", "b.example.com"),
        [
            "Process group \"app\" is defined twice, in virtual hosts with different \
             ServerNames: shop.conf:2 (in a.example.com (<VirtualHost *:80>)) and shop.conf:5 \
             (in b.example.com (<VirtualHost *:80>)). Define it once, outside of \
             <VirtualHost>, or give one another name."
        ],
    );
    assert_eq!(two("-", "-").len(), 1);
    // In the main server it was meant for everybody already.
    let text = "<VirtualHost a.example.com *:80>
        WSGIDaemonProcess app
        </VirtualHost>
        WSGIDaemonProcess app";
    let resolved = TestConfiguration::of(text).resolve_groups();
    assert_eq!(resolved.refusals, Vec::<String>::new());
    assert_eq!(
        resolved.groups.find(b"app").unwrap().reach,
        Reach::Everywhere
    );
}

#[test]
fn remarks_are_passed_on_with_their_place() {
    assert_eq!(
        warnings("WSGIScriptAlias / app.wsgi"),
        ["shop.conf:1 the target \"app.wsgi\" is no absolute path, so it leads nowhere."],
    );
}

#[test]
fn a_request_for_an_unknown_group_gets_the_same_suggestion() {
    let groups = TestConfiguration::of("WSGIDaemonProcess shop")
        .resolve_groups()
        .groups;
    assert_eq!(
        groups.undefined_sentence(b"shpo"),
        "process group \"shpo\" is not defined. Defined groups: \"shop\" (shop.conf:1). Did \
         you mean \"shop\"?",
    );
    let many: String = (0..12)
        .map(|n| format!("WSGIDaemonProcess group{n:02}\n"))
        .collect();
    let sentence = TestConfiguration::of(&many)
        .resolve_groups()
        .groups
        .undefined_sentence(b"x");
    assert!(
        sentence.ends_with("\"group09\" (shop.conf:10), and 2 more."),
        "{sentence}"
    );
}

#[test]
fn a_hook_asks_a_group_that_answers_or_the_server_does_not_start() {
    let refusal = |lines: &str| {
        let configuration = TestConfiguration::of(lines);
        configuration.resolve_groups().refusals.join(" ")
    };
    let hook = "<Location /x>
        WSGIAccessScript /srv/access.py process-group=auth
        </Location>";
    assert_eq!(refusal(&format!("{hook}\nWSGIDaemonProcess auth")), "");
    let said = refusal(&format!("WSGIDaemonProcess auht\n{hook}"));
    let start = "shop.conf:3 WSGIAccessScript: process group \"auth\" is not defined.";
    assert!(
        said.starts_with(start) && said.ends_with("Did you mean \"auht\"?"),
        "{said}"
    );
    let said = refusal(&format!("WSGIDaemonProcess auth threads=0\n{hook}"));
    assert!(said.contains("has threads=0 and answers nothing"), "{said}");
    let said = refusal(&format!(
        "<VirtualHost a.example.com *:80>
        WSGIDaemonProcess auth
        </VirtualHost>
        <VirtualHost b.example.com *:80>
        {hook}
        </VirtualHost>"
    ));
    assert!(said.contains("cannot be used from b.example.com"), "{said}");
}

#[test]
fn a_hook_may_ask_for_the_main_interpreter() {
    let reachable = |options: &str| {
        let lines = format!(
            "WSGIDaemonProcess auth
            <Location /x>
            WSGIAccessScript /srv/access.py process-group=auth {options}
            </Location>"
        );
        let resolved = TestConfiguration::of(&lines).resolve_groups();
        resolved
            .groups
            .find(b"auth")
            .unwrap()
            .process_group
            .global_reachable
    };
    assert!(reachable("") && reachable("application-group=%{GLOBAL}"));
    assert!(!reachable("application-group=hooks"));
}
