//! The directive table as a whole: every row read, misplaced and fed with nonsense.

use super::alias::Location;
use super::daemon_options;
use super::directive::{apply, Concern, Directive, Effect, Scope, Target};
use super::directives::{self, DIRECTIVES};
use super::module_config::{DirectoryConfig, ServerConfig};
use super::place::Place;
use super::reading::Reading;
use super::testing::{Machine, TestConfiguration};

#[test]
fn every_row_is_complete_and_its_example_is_right() {
    for row in DIRECTIVES {
        let name = row.name.trim_start_matches('<');
        assert!(name.starts_with("WSGI"), "{name}");
        assert!(
            row.usage.trim_start_matches('<').starts_with(name),
            "{name}: usage"
        );
        assert!(
            row.help.len() < 80 && row.help.ends_with('.'),
            "{name}: help"
        );
        assert!(
            row.doc.len() > row.help.len() && row.doc.ends_with(['.', ')']),
            "{name}: doc"
        );
        assert!(row.example.contains(row.name), "{name}: example");
        TestConfiguration::of(row.example);
    }
}

/// Fail closed: what restricts who may enter, or decides what runs, has an effect.
#[test]
fn no_directive_that_restricts_or_decides_is_without_effect() {
    for row in DIRECTIVES {
        let name = row.name;
        match row.effect {
            Effect::Now => {}
            Effect::Later | Effect::Never(_) => {
                assert_eq!(row.concern, Concern::Manner, "{name}")
            }
        }
    }
    // What a row must be called if it is to restrict.
    for row in DIRECTIVES.iter().filter(|row| {
        ["Restrict", "Auth", "Access"]
            .iter()
            .any(|word| row.name.contains(word))
            && row.name != "WSGIGroupAuthoritative"
    }) {
        assert_eq!(row.concern, Concern::Restricts, "{}", row.name);
    }
    // All options of a group restrict or decide, but the one that has nothing to do here.
    for option in daemon_options::all().filter(|option| option.effect != Effect::Now) {
        assert_eq!(option.name, "server-metrics");
    }
}

#[test]
fn free_threading_is_for_whole_processes() {
    let text = "<WSGIInterpreterOptions process-group=shop application-group=cart>
        WSGIFreeThreading On
        </WSGIInterpreterOptions>
        <WSGIInterpreterOptions process-group=shop>
        WSGIFreeThreading On
        </WSGIInterpreterOptions>";
    let reading = TestConfiguration::of(text).reading;
    let [(number, place, remark)] = &reading.numbered_remarks[..] else {
        panic!("{:?}", reading.numbered_remarks)
    };
    assert_eq!((number.to_string(), place.line), ("WSGI0201".into(), 2));
    assert!(remark.contains("application-group="), "{remark}");
}

#[test]
fn every_directive_is_in_the_table_once() {
    let mut names: Vec<_> = DIRECTIVES
        .iter()
        .map(|row| row.name.to_ascii_lowercase())
        .collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!((names.len(), count), (54, 54));
    assert!(directives::find("wsgiscriptalias").is_some());
    assert!(directives::find("WSGINoSuchThing").is_none());
}

#[test]
fn directives_of_mod_wsgi_4_are_accepted_and_named() {
    let lines = "WSGILazyInitialization On\nWSGINewRelicEnvironment staging";
    let configuration = TestConfiguration::of(lines);
    let sentences = configuration.reading.dropped_sentences();
    assert_eq!(sentences.len(), 2);
    assert!(
        sentences[0].contains("WSGILazyInitialization"),
        "{sentences:?}"
    );
    assert!(
        sentences[0].contains("Python never runs in Apache"),
        "{sentences:?}"
    );
    assert!(
        sentences[0].ends_with("Take the line out."),
        "{sentences:?}"
    );
}

#[test]
fn a_relative_python_path_is_named_with_where_it_leads() {
    let lines = "WSGIDaemonProcess shop home=/srv/shop python-path=/srv/lib:lib:more
        WSGIDaemonProcess blog python-path=/srv/lib";
    let settled = TestConfiguration::of(lines).resolve_groups();
    let [sentence] = &settled.relative_paths[..] else {
        panic!("{:?}", settled.relative_paths);
    };
    assert!(sentence.contains("python-path=lib:more"), "{sentence}");
    assert!(sentence.contains("/srv/shop/lib"), "{sentence}");
}

#[test]
fn the_virtual_host_of_the_flask_documentation_is_understood() {
    let configuration = TestConfiguration::of(
        "<VirtualHost example.com *>
        WSGIDaemonProcess yourapplication user=ann group=ann threads=5
        WSGIScriptAlias / /var/www/yourapplication/yourapplication.wsgi
        <Directory /var/www/yourapplication>
        WSGIProcessGroup yourapplication
        WSGIApplicationGroup %{GLOBAL}
        WSGIScriptReloading On
        </Directory>
        </VirtualHost>",
    );
    let alias = &configuration.hosts[0].config.aliases[0];
    assert_eq!(alias.location, Location::Prefix(b"/"[..].into()));
    let resolved = configuration.resolve_groups();
    assert_eq!((resolved.refusals, resolved.warnings), (vec![], vec![]));
    let group = resolved.groups.find(b"yourapplication").unwrap();
    let group = &group.process_group;
    assert_eq!(
        (group.identity.uid, group.identity.gid, group.threads),
        (1001, 1001, 5)
    );
    assert_eq!(group.identity.groups, [1001, 27]);
    assert_eq!((group.processes, group.multiprocess), (1, false));
    assert!(group.global_reachable);
    assert_eq!(configuration.reading.without_effect_sentence(), None);
}

#[test]
fn a_directive_in_the_wrong_place_is_refused() {
    for (text, sentence) in [
        (
            "<Directory /srv>\nWSGIScriptAlias /a /b",
            "WSGIScriptAlias: it cannot stand in a directory section. Allowed in: server config, \
             virtual host.",
        ),
        (
            "WSGIAccessScript /srv/access.py",
            "WSGIAccessScript: it stands outside of any directory section. Allowed in: directory, \
             .htaccess (AllowOverride AuthConfig).",
        ),
    ] {
        assert_eq!(TestConfiguration::refusal(text), sentence);
    }
}

#[test]
fn on_and_off_are_read_in_any_case_and_nothing_else_is() {
    for row in DIRECTIVES
        .iter()
        .filter(|row| row.usage.ends_with(" On|Off"))
    {
        for value in ["On", "off", "ON"] {
            TestConfiguration::of(&in_place(row, value));
        }
        for value in ["yes", "1", "O"] {
            assert_eq!(
                TestConfiguration::refusal(&in_place(row, value)),
                format!(
                    "{}: \"{value}\" is not valid, expected On or Off.",
                    row.name
                ),
            );
        }
        for value in ["", "On Off", "\"\""] {
            assert_eq!(
                TestConfiguration::refusal(&in_place(row, value)),
                format!("{}: expected \"{}\".", row.name, row.usage),
            );
        }
    }
}

#[test]
fn no_text_makes_a_setter_panic() {
    // An .htaccess is written by whoever may write there. A generator of fixed seed, so that a
    // failure can be repeated.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let pieces: [&[u8]; 22] = [
        b"On",
        b"=",
        b" ",
        b"\"",
        b"'",
        b"\\",
        b"%{ENV:",
        b"}",
        b"%{GLOBAL}",
        b"$1",
        b"-1",
        b"0",
        b"99999999999999999999",
        b"/",
        b":",
        b"#",
        b",",
        b"\xff\xfe",
        b"\xc3\xa9",
        b"env=",
        b"1e999",
        b"process-group=",
    ];
    let place = Place::default();
    let machine = Machine { root: true };
    let options: Vec<_> = daemon_options::all().collect();
    for _ in 0..200 {
        let args: Vec<u8> = (0..next(8))
            .flat_map(|_| pieces[next(pieces.len())].to_vec())
            .collect();
        let option = options[next(options.len())].name.as_bytes();
        let group = [b"shop ", option, b"=", &args[..]].concat();
        for row in DIRECTIVES {
            let args = if row.name == "WSGIDaemonProcess" {
                &group
            } else {
                &args
            };
            let (mut server, mut dir) = (ServerConfig::default(), DirectoryConfig::default());
            let mut reading = Reading::default();
            for target in [Target::Server(&mut server), Target::Directory(&mut dir)] {
                let read = apply(row, target, args, &place, &machine, &mut reading);
                assert!(read.is_ok() || !read.unwrap_err().to_string().contains('\0'));
            }
        }
    }
}

fn in_place(row: &Directive, value: &str) -> String {
    match row.scope {
        Scope::AuthConfig => format!("<Directory /srv>\n{} {value}\n</Directory>", row.name),
        _ => format!("{} {value}", row.name),
    }
}
