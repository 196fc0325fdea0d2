//! What the options of `WSGIDaemonProcess` take and refuse.

use std::time::Duration;

use super::super::testing::TestConfiguration;
use super::*;

/// The options of `WSGIDaemonProcess shop` with these.
fn options(text: &str) -> DaemonOptions {
    let configuration = TestConfiguration::of(&format!("WSGIDaemonProcess shop {text}"));
    configuration.reading.groups[0].options.clone()
}

/// What is said about one wrong option.
fn refusal(text: &str) -> String {
    TestConfiguration::refusal(&format!("WSGIDaemonProcess shop {text}"))
}

fn refusal_of(option: &str, value: &str, expected: &str) {
    assert_eq!(
        refusal(&format!("{option}='{value}'")),
        format!("WSGIDaemonProcess: {option}=\"{value}\" is not valid, expected {expected}."),
    );
}

#[test]
fn the_name_comes_first() {
    let group = TestConfiguration::of("WSGIDaemonProcess \"my shop\"")
        .reading
        .groups[0]
        .clone();
    assert_eq!(group.name, b"my shop");
    assert_eq!(group.options, DaemonOptions::default());
    for text in ["WSGIDaemonProcess", "WSGIDaemonProcess ''"] {
        assert_eq!(
            TestConfiguration::refusal(text),
            "WSGIDaemonProcess: expected \"WSGIDaemonProcess name [option=value ...]\".",
        );
    }
    assert_eq!(
        TestConfiguration::refusal("WSGIDaemonProcess user=ann"),
        "WSGIDaemonProcess: \"user=ann\" is not valid, expected the name of the process group \
         before any option.",
    );
}

#[test]
fn a_word_that_is_no_option_is_refused_with_the_nearest() {
    assert_eq!(
        refusal("thread=5"),
        "WSGIDaemonProcess: \"thread=5\" is not one of its options. Did you mean threads=?",
    );
    assert_eq!(
        refusal("threads"),
        "WSGIDaemonProcess: \"threads\" is not of the form option=value. Did you mean threads=?",
    );
    assert_eq!(
        refusal("Threads=5"),
        "WSGIDaemonProcess: \"Threads=5\" is not one of its options. Did you mean threads=?",
    );
    assert_eq!(
        refusal("colour=red"),
        "WSGIDaemonProcess: \"colour=red\" is not one of its options.",
    );
    assert_eq!(
        refusal("\"threads=5\""),
        "WSGIDaemonProcess: \"\"threads=5\"\" is not one of its options. Did you mean threads=?",
    );
}

#[test]
fn users_and_groups_are_looked_up() {
    assert_eq!(options("user=ann").user.unwrap().home, b"/home/ann");
    assert_eq!(options("user=#1001").user.unwrap().name, b"ann");
    assert_eq!(options("group=sudo").group.unwrap().gid, 27);
    assert_eq!(options("group=#27").group.unwrap().name, b"sudo");
    assert_eq!(options("socket-user=root").socket_user.unwrap().uid, 0);
    assert_eq!(options("script-user=ann").script_user.unwrap().uid, 1001);
    assert_eq!(options("script-group=ann").script_group.unwrap().gid, 1001);

    let a_user = "the name of a user that exists, or #uid of one";
    for value in ["", "nobody-here", "#4711"] {
        refusal_of("user", value, a_user);
    }
    for value in ["#", "#-1", "#99999999999", "#1x"] {
        refusal_of("user", value, "#uid with a number");
    }
    refusal_of("user", "broken", "a user (the user database is away)");
    for value in ["root", "#0"] {
        let expected = "a user other than root: applications never run as root";
        refusal_of("user", value, expected);
        refusal_of("group", value, "a group other than root's");
        refusal_of("supplementary-groups", value, "groups other than root's");
    }
    let a_group = "the name of a group that exists, or #gid of one";
    for value in ["", "#", "nogroup", "#4711"] {
        refusal_of("group", value, a_group);
    }
    refusal_of("group", "broken", "a group (the group database is away)");
}

#[test]
fn supplementary_groups_are_a_list_within_the_limit_of_the_system() {
    let given = options("supplementary-groups=ann,#27");
    assert_eq!(given.supplementary_groups.unwrap(), [1001, 27]);
    let expected = "the name of a group that exists, or #gid of one";
    refusal_of("supplementary-groups", "ann,", expected);
    refusal_of("supplementary-groups", "ann,nogroup", expected);
    // The machine allows four, and the primary group is one of them.
    options("supplementary-groups=ann,sudo,www-data");
    let expected = "at most 3 groups, the system's limit";
    refusal_of("supplementary-groups", "ann,sudo,www-data,ann", expected);
}

#[test]
fn owner_and_group_of_scripts_exclude_each_other() {
    assert_eq!(
        refusal("script-user=ann script-group=ann"),
        "WSGIDaemonProcess: script-user= and script-group= exclude each other; give one of \
         them.",
    );
}

#[test]
fn counts_have_their_ranges() {
    assert_eq!(options("processes=1").processes, Some(1));
    assert_eq!(options("threads=0").threads, Some(0));
    assert_eq!(options("threads=65533").threads, Some(65533));
    assert_eq!(options("listen-backlog=0").listen_backlog, Some(0));
    assert_eq!(options("cpu-priority=-5").cpu_priority, Some(-5));
    assert_eq!(options("maximum-requests=0").maximum_requests, Some(0));
    for value in ["0", "-1", "two", "", "2x", "1.5", " 2"] {
        refusal_of("processes", value, "a whole number from 1 to 2147483647");
    }
    for value in ["-1", "65534", "many"] {
        refusal_of("threads", value, "a whole number from 0 to 65533");
    }
    refusal_of("cpu-priority", "21", "a whole number from -20 to 20");
    refusal_of(
        "listen-backlog",
        "-1",
        "a whole number from 0 to 2147483647",
    );
}

#[test]
fn the_mask_is_octal() {
    for (value, mask) in [("0027", 0o27), ("22", 0o22), ("0", 0), ("777", 0o777)] {
        assert_eq!(options(&format!("umask={value}")).umask, Some(mask));
    }
    for value in ["", "8", "0x1f", "-22", "+22", "1777"] {
        refusal_of("umask", value, "an octal number from 0 to 0777");
    }
}

#[test]
fn times_are_whole_seconds() {
    let names = [
        "startup-timeout",
        "deadlock-timeout",
        "inactivity-timeout",
        "request-timeout",
        "interrupt-timeout",
        "graceful-timeout",
        "eviction-timeout",
        "shutdown-timeout",
        "restart-interval",
        "connect-timeout",
        "socket-timeout",
        "queue-timeout",
        "response-socket-timeout",
        "cpu-time-limit",
    ];
    for name in names {
        options(&format!("{name}=0"));
        assert_ne!(
            options(&format!("{name}=60")),
            DaemonOptions::default(),
            "{name}"
        );
        for value in ["", "-1", "60s", "1.5", "never", "2147483648"] {
            let expected = "seconds as a whole number, 0 or more, without a unit";
            refusal_of(name, value, expected);
        }
    }
    let given = options("request-timeout=60 response-flush-delay=5");
    assert_eq!(given.request_timeout, Some(Duration::from_secs(60)));
    assert_eq!(given.response_flush_delay, Some(Duration::from_millis(5)));
    let expected = "milliseconds as a whole number, 0 or more, without a unit";
    refusal_of("response-flush-delay", "5ms", expected);
}

#[test]
fn sizes_are_bytes_with_a_least_value() {
    assert_eq!(
        options("response-buffer-size=65536").response_buffer_size,
        Some(65536)
    );
    for (name, least) in [
        ("response-buffer-size", 65536),
        ("header-buffer-size", 8192),
        ("send-buffer-size", 512),
        ("receive-buffer-size", 512),
    ] {
        options(&format!("{name}=0 {name}={least}"));
        for value in [
            (least - 1).to_string(),
            "-1".into(),
            "1M".into(),
            String::new(),
        ] {
            let expected = format!(
                "0 for the default, or {least} bytes or more as a whole number without a unit"
            );
            refusal_of(name, &value, &expected);
        }
    }
    for name in ["memory-limit", "virtual-memory-limit", "max-rss"] {
        options(&format!("{name}=536870912"));
        let expected = "bytes as a whole number, 0 for no limit, without a unit";
        refusal_of(name, "512M", expected);
    }
    assert_eq!(options("stack-size=1048576").stack_size, Some(1048576));
    refusal_of("stack-size", "0", "bytes as a whole number above 0");
}

#[test]
fn the_switch_interval_is_above_zero() {
    let given = options("switch-interval=0.005").switch_interval;
    assert_eq!(given, Some(Duration::from_millis(5)));
    for value in ["0", "-1", "nan", "inf", "fast", ""] {
        refusal_of("switch-interval", value, "seconds above 0, such as 0.005");
    }
}

#[test]
fn paths_are_absolute() {
    for name in ["home", "chroot", "env-file", "python-home"] {
        options(&format!("{name}=\"/srv/my shop\""));
        refusal_of(name, "venv", "an absolute path");
    }
    refusal_of("home", "", "an absolute path");
    assert_eq!(options("python-home=''").python_home, None);
    let path = options("python-path=/srv/a:/srv/b::").python_path.unwrap();
    assert_eq!(path, [b"/srv/a".to_vec(), b"/srv/b".to_vec()]);
}

#[test]
fn chroot_needs_root() {
    let mut configuration = TestConfiguration::new();
    configuration.machine.root = false;
    assert_eq!(
        configuration
            .read("WSGIDaemonProcess shop chroot=/srv/jail")
            .unwrap_err(),
        "WSGIDaemonProcess: chroot=\"/srv/jail\" is not valid, expected Apache to be started \
         by root, or no chroot=.",
    );
}

#[test]
fn texts_may_be_empty_which_says_nothing() {
    let given = options("lang='' locale='' display-name='' python-path='' python-eggs=''");
    assert_eq!(given, DaemonOptions::default());
    let given = options("lang=C.UTF-8 locale=de_DE.UTF-8 display-name=%{GROUP}");
    assert_eq!(given.lang.unwrap(), b"C.UTF-8");
    assert_eq!(given.locale.unwrap(), b"de_DE.UTF-8");
    assert_eq!(given.display_name.unwrap(), b"%{GROUP}");
}

#[test]
fn environment_variables_add_up_and_the_last_of_a_name_counts() {
    let given = options("env=A=1 env='B=x y=z' env=A=2 env=C=");
    let expected: [(&[u8], &[u8]); 3] = [(b"B", b"x y=z"), (b"A", b"2"), (b"C", b"")];
    let given: Vec<_> = given
        .env
        .iter()
        .map(|(name, value)| (&name[..], &value[..]))
        .collect();
    assert_eq!(given, expected);
    for value in ["", "A", "=1"] {
        refusal_of("env", value, "NAME=value");
    }
}

#[test]
fn flags_are_on_or_off() {
    let given = options("clear-env=on no-new-privs=OFF");
    assert_eq!(given.clear_env, Some(true));
    assert_eq!(given.no_new_privs, Some(false));
    refusal_of("clear-env", "yes", "On or Off");
    refusal_of("server-metrics", "yes", "On or Off");
}

#[test]
fn the_last_of_a_repeated_option_counts() {
    assert_eq!(options("threads=5 threads=7").threads, Some(7));
}

#[test]
fn every_option_is_in_the_table_once_and_documented() {
    let mut names: Vec<_> = all().map(|option| option.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!((names.len(), count), (54, 54));
    for option in all() {
        assert!(option.doc.ends_with('.'), "{}", option.name);
        assert!(
            !option.default.is_empty() && !option.value.is_empty(),
            "{}",
            option.name
        );
    }
}

#[test]
fn what_the_command_line_server_of_mod_wsgi_writes_is_understood() {
    let configuration = TestConfiguration::of(
        "WSGIDaemonProcess localhost:8000 display-name='(wsgi:localhost:8000:0)' \
         home='/srv/app' processes=1 threads=5 maximum-requests=0 python-path='' \
         python-eggs='/tmp/python-eggs' lang='en_US.UTF-8' locale='en_US.UTF-8' \
         listen-backlog=100 queue-timeout=45 socket-timeout=60 connect-timeout=15 \
         request-timeout=60 interrupt-timeout=0 inactivity-timeout=0 startup-timeout=15 \
         deadlock-timeout=60 graceful-timeout=15 eviction-timeout=0 restart-interval=0 \
         cpu-time-limit=0 shutdown-timeout=5 send-buffer-size=0 receive-buffer-size=0 \
         header-buffer-size=0 response-buffer-size=0 response-flush-delay=5 \
         response-socket-timeout=0 server-metrics=Off",
    );
    assert_eq!(
        configuration.resolve_groups().refusals,
        Vec::<String>::new()
    );
}
