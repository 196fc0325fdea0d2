//! What the setters take and refuse, family by family. Flags are tested all at once, in the tests
//! of the table.

use std::time::Duration;

use crate::alias::Location;
use crate::expand::Template;
use crate::module_config::{HashSeed, MapHead};
use crate::testing::TestConfiguration;

fn refused(rows: &[(&str, &str)]) {
    for (text, sentence) in rows {
        assert_eq!(TestConfiguration::refusal(text), *sentence, "{text}");
    }
}

#[test]
fn an_alias_has_location_target_and_options() {
    let configuration = TestConfiguration::of(
        "WSGIScriptAlias /shop \"/srv/my shop/app.wsgi\" process-group=%{GLOBAL} \
         application-group=%{ENV:X} callable-object=app pass-authorization=on
        WSGIScriptAliasMatch ^/(a|b) /srv/$1.wsgi",
    );
    let [plain, regex] = &configuration.main.aliases[..] else {
        panic!("two aliases")
    };
    assert_eq!(plain.location, Location::Prefix(b"/shop"[..].into()));
    assert_eq!(plain.target[..], b"/srv/my shop/app.wsgi"[..]);
    assert_eq!(plain.options.process_group, Some(Template::Global));
    assert_eq!(
        plain.options.application_group,
        Some(Template::Env(b"X"[..].into()))
    );
    assert_eq!(plain.options.callable_object.as_deref(), Some(&b"app"[..]));
    assert_eq!(plain.options.pass_authorization, Some(true));
    assert_eq!(plain.place.line, 1);
    assert_eq!(regex.location, Location::Regex(b"^/(a|b)"[..].into()));
    assert_eq!(regex.options, Default::default());
}

#[test]
fn a_wrong_alias_is_refused() {
    let usage = "WSGIScriptAlias: expected \"WSGIScriptAlias url-path file-or-directory \
                 [process-group=name] [application-group=name] [callable-object=name] \
                 [pass-authorization=On|Off]\".";
    refused(&[
        ("WSGIScriptAlias", usage),
        ("WSGIScriptAlias /a", usage),
        ("WSGIScriptAlias '' /a", usage),
        ("WSGIScriptAlias /a ''", usage),
        (
            "WSGIScriptAlias /a /b process_group=x",
            "WSGIScriptAlias: \"process_group=x\" is not one of its options. Did you mean \
             process-group=?",
        ),
        (
            "WSGIScriptAlias /a /b threads=5",
            "WSGIScriptAlias: \"threads=5\" is not one of its options.",
        ),
        (
            "WSGIScriptAlias /a /b shop",
            "WSGIScriptAlias: \"shop\" is not of the form option=value.",
        ),
        (
            "WSGIScriptAlias /a /b process-group=",
            "WSGIScriptAlias: process-group=\"\" is not valid, expected a value; %{GLOBAL} stands \
             for the empty name of a group.",
        ),
        (
            "WSGIScriptAlias /a /b pass-authorization=yes",
            "WSGIScriptAlias: pass-authorization=\"yes\" is not valid, expected On or Off.",
        ),
        (
            "WSGIScriptAliasMatch ^/(a /b",
            "WSGIScriptAliasMatch: \"^/(a\" is not valid, expected a regular expression (missing \
             closing parenthesis).",
        ),
    ]);
}

#[test]
fn a_script_to_import_needs_both_groups() {
    let usage = "WSGIImportScript: expected \"WSGIImportScript file process-group=name \
                 application-group=name\".";
    refused(&[
        ("WSGIImportScript", usage),
        ("WSGIImportScript /a", usage),
        ("WSGIImportScript /a process-group=x", usage),
        ("WSGIImportScript /a application-group=x", usage),
        (
            "WSGIImportScript /a process-group=x application-group=%{SERVER}",
            "WSGIImportScript: application-group=\"%{SERVER}\" is not valid, expected the name of \
             a group, or %{GLOBAL}: there is no request yet.",
        ),
        (
            "WSGIImportScript /a process-group=x application-group=y callable-object=z",
            "WSGIImportScript: \"callable-object=z\" is not one of its options.",
        ),
    ]);
}

#[test]
fn scripts_for_handlers_and_access_take_their_options() {
    let configuration = TestConfiguration::of(
        "<Directory /srv>
        WSGIHandlerScript bobo '/srv/a b.py' process-group=shop application-group=%{HOST}
        WSGIAccessScript /srv/access.py process-group=shop application-group=%{GLOBAL}
        WSGIDispatchScript /srv/dispatch.py process-group=shop
        </Directory>",
    );
    let dir = &configuration.directories[0].1;
    let handler = &dir.handler_scripts.as_ref().unwrap()[&b"bobo"[..]];
    assert_eq!(handler.path[..], b"/srv/a b.py"[..]);
    assert_eq!(handler.application_group, Some(Template::Host));
    let access = dir.access_script.as_ref().unwrap();
    assert_eq!(access.application_group, Some(Template::Global));
    assert_eq!(access.process_group[..], b"shop"[..]);
    assert_eq!(
        dir.dispatch_script.as_ref().unwrap().application_group,
        None
    );
    refused(&[
        (
            "WSGIHandlerScript bobo",
            "WSGIHandlerScript: expected \"WSGIHandlerScript handler-name file \
             [process-group=name] [application-group=name] [pass-authorization=On|Off]\".",
        ),
        (
            "WSGIDispatchScript /a callable-object=x",
            "WSGIDispatchScript: \"callable-object=x\" is not one of its options.",
        ),
        (
            "WSGIDispatchScript /a process-group=%{ENV:x}",
            "WSGIDispatchScript: process-group=\"%{ENV:x}\" is not valid, expected the name of a group \
             that WSGIDaemonProcess defines.",
        ),
    ]);
}

#[test]
fn group_names_are_one_word() {
    let usage = "WSGIProcessGroup: expected \
                 \"WSGIProcessGroup name|%{GLOBAL}|%{SERVER}|%{HOST}|%{RESOURCE}|%{ENV:name}\".";
    refused(&[
        ("WSGIProcessGroup", usage),
        ("WSGIProcessGroup ''", usage),
        ("WSGIProcessGroup a b", usage),
        (
            "WSGIRestrictProcess",
            "WSGIRestrictProcess: expected \"WSGIRestrictProcess name ...\".",
        ),
    ]);
}

#[test]
fn values_from_a_list_are_read_in_any_case() {
    let head = |value: &str| {
        let configuration = TestConfiguration::of(&format!("WSGIMapHEADToGET {value}"));
        configuration.main.directory.map_head_to_get.unwrap()
    };
    assert_eq!(
        (head("on"), head("OFF"), head("auto")),
        (MapHead::On, MapHead::Off, MapHead::Auto),
    );
    for kind in [
        "Default", "flock", "FCNTL", "sysvsem", "posixsem", "pthread",
    ] {
        TestConfiguration::of(&format!("WSGIAcceptMutex {kind}"));
    }
    refused(&[
        (
            "WSGIMapHEADToGET maybe",
            "WSGIMapHEADToGET: \"maybe\" is not valid, expected On, Off or Auto.",
        ),
        (
            "WSGIAcceptMutex none",
            "WSGIAcceptMutex: \"none\" is not valid, expected Default, flock, fcntl, sysvsem, \
             posixsem or pthread.",
        ),
    ]);
}

#[test]
fn proxies_and_their_headers_are_checked_word_by_word() {
    refused(&[
        (
            "WSGITrustedProxyHeaders X-Real-IP X_Forwarded_For",
            "WSGITrustedProxyHeaders: \"X_Forwarded_For\" is not valid, expected the name of a \
             header: letters, digits and hyphens.",
        ),
        (
            "WSGITrustedProxies 10.0.0.1 proxy",
            "WSGITrustedProxies: \"proxy\" is not valid, expected an IPv4 or IPv6 address or a \
             network such as 10.0.0.0/8.",
        ),
    ]);
}

#[test]
fn settings_of_python_are_checked() {
    let global = |text: &str| TestConfiguration::of(text).main.global;
    let seed = |text: &str| global(text).python_hash_seed.unwrap();
    assert_eq!(seed("WSGIPythonHashSeed random"), HashSeed::Random);
    assert_eq!(
        seed("WSGIPythonHashSeed 4294967295"),
        HashSeed::Fixed(u32::MAX)
    );
    let interval = global("WSGISwitchInterval 0.02")
        .interpreter
        .switch_interval;
    assert_eq!(interval, Some(Duration::from_millis(20)));
    let path = global("WSGIPythonPath /a:/b")
        .interpreter
        .python_path
        .unwrap();
    assert_eq!(path[..], [b"/a".to_vec(), b"/b".to_vec()]);
    assert_eq!(global("WSGIPythonOptimize 2").python_optimize, Some(2));
    refused(&[
        (
            "WSGIPythonHashSeed 4294967296",
            "WSGIPythonHashSeed: \"4294967296\" is not valid, expected random, or a number from 0 \
             to 4294967295.",
        ),
        (
            "WSGIPythonHashSeed -1",
            "WSGIPythonHashSeed: \"-1\" is not valid, expected random, or a number from 0 to \
             4294967295.",
        ),
        (
            "WSGISwitchInterval 0",
            "WSGISwitchInterval: \"0\" is not valid, expected seconds above 0, such as 0.005.",
        ),
        (
            "WSGIPythonOptimize -1",
            "WSGIPythonOptimize: \"-1\" is not valid, expected a level as a whole number: 0 to 2.",
        ),
        (
            "WSGIPythonHome venv",
            "WSGIPythonHome: \"venv\" is not valid, expected an absolute path.",
        ),
        (
            "WSGISocketPrefix ..",
            "WSGISocketPrefix: \"..\" is not valid, expected a path, absolute or relative to \
             ServerRoot.",
        ),
    ]);
}

#[test]
fn a_section_for_interpreters_has_each_selector_once() {
    let global = TestConfiguration::of(
        "<WSGIInterpreterOptions Process-Group=shop application-group=%{GLOBAL}>
        </WSGIInterpreterOptions>",
    )
    .main
    .global;
    assert_eq!(
        global.blocks[0].process_group.as_deref(),
        Some(&b"shop"[..])
    );
    assert_eq!(
        global.blocks[0].application_group.as_deref(),
        Some(&b""[..])
    );
    refused(&[
        (
            "<WSGIInterpreterOptions process-group=a process-group=b>",
            "<WSGIInterpreterOptions: process-group= is given twice.",
        ),
        (
            "<WSGIInterpreterOptions group=a>",
            "<WSGIInterpreterOptions: \"group=a\" is not one of its options.",
        ),
        (
            "<WSGIInterpreterOptions shop>",
            "<WSGIInterpreterOptions: \"shop\" is not of the form option=value.",
        ),
    ]);
}

#[test]
fn what_a_section_cannot_do_yet_is_said() {
    let said = |text: &str| {
        TestConfiguration::of(text)
            .reading
            .without_effect_sentence()
    };
    let section = "<WSGIInterpreterOptions process-group=shop>
        WSGIPythonPath /srv/lib
        </WSGIInterpreterOptions>";
    assert_eq!(said(section), None);
    assert_eq!(said("WSGIPythonPath /srv/lib"), None);
}

#[test]
fn the_telemetry_service_is_a_socket_with_an_interval() {
    let service = |text: &str| {
        let configuration = TestConfiguration::of(&format!("WSGITelemetryService {text}"));
        configuration.main.global.telemetry_service.unwrap()
    };
    assert_eq!(service("unix:/run/t.sock").interval, Duration::from_secs(1));
    let given = service("unix:/run/t.sock interval=0.5");
    assert_eq!(
        (&given.socket[..], given.interval.as_millis()),
        (&b"/run/t.sock"[..], 500)
    );
    let expected = "unix: and the absolute path of a socket.";
    refused(&[
        (
            "WSGITelemetryService udp:1",
            &format!("WSGITelemetryService: \"udp:1\" is not valid, expected {expected}"),
        ),
        (
            "WSGITelemetryService unix:run",
            &format!("WSGITelemetryService: \"unix:run\" is not valid, expected {expected}"),
        ),
        (
            "WSGITelemetryService unix:/a interval=0.4",
            "WSGITelemetryService: interval=\"0.4\" is not valid, expected seconds, 0.5 or more.",
        ),
        (
            "WSGITelemetryService unix:/a intervall=1",
            "WSGITelemetryService: \"intervall=1\" is not one of its options. Did you mean \
             interval=?",
        ),
        (
            "WSGISlowRequests -1",
            "WSGISlowRequests: \"-1\" is not valid, expected seconds, 0 or more.",
        ),
    ]);
}

#[test]
fn telemetry_flags_stack_with_a_sign_and_replace_without() {
    for (lines, captured) in [
        ("CaptureUserAgent", true),
        ("All", true),
        ("None", false),
        ("+CaptureUserAgent", true),
        ("+CaptureUserAgent\n-CaptureUserAgent", false),
        ("All\n-captureuseragent", false),
        ("All\nNone", false),
        ("None\n+CaptureUserAgent", true),
    ] {
        let line = |flags: &str| format!("WSGITelemetryOptions {flags}\n");
        let text: String = lines.lines().map(line).collect();
        let configuration = TestConfiguration::of(&text);
        assert_eq!(
            configuration.main.global.capture_user_agent,
            Some(captured),
            "{lines}"
        );
    }
    let expected = "expected CaptureUserAgent with or without a sign, None or All.";
    for flags in ["+", "+All", "-None", "Everything"] {
        assert_eq!(
            TestConfiguration::refusal(&format!("WSGITelemetryOptions {flags}")),
            format!("WSGITelemetryOptions: \"{flags}\" is not valid, {expected}"),
        );
    }
    refused(&[(
        "WSGITelemetryOptions +CaptureUserAgent All",
        "WSGITelemetryOptions: flags with a sign and flags without cannot stand in one line.",
    )]);
}
