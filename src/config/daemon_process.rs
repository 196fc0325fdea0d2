//! `WSGIDaemonProcess`: one line defines one process group.
//!
//! Runs in: the Apache parent while the configuration is read.
//!
//! The options are a table of their own ([`DAEMON_OPTIONS`]); this file has what
//! a row is made of, the record the setters write into, and the reading of the line.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::daemon_options::DAEMON_OPTIONS;
use super::directive::{on_off, Effect, Line};
use super::error::{Invalid, Problem};
use super::place::Place;
use super::system::{Account, AccountGroup};
use super::words::next_pair;

/// One option of `WSGIDaemonProcess`: a row of the table.
#[derive(Debug)]
pub struct DaemonOption {
    /// The name, left of the `=`.
    pub name: &'static str,
    /// What stands right of it, in words for the documentation.
    pub value: &'static str,
    /// What holds when it is not given, in words.
    pub default: &'static str,
    /// Whether it does anything.
    pub effect: Effect,
    /// Its paragraph in the documentation.
    pub doc: &'static str,
    /// Its setter.
    pub set: fn(&mut DaemonOptions, &OptionValue<'_>) -> Result<(), Invalid>,
}

/// The options of one group as given. A zero that means "off" stays a zero here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DaemonOptions {
    pub user: Option<Account>,
    pub group: Option<AccountGroup>,
    pub supplementary_groups: Option<Vec<u32>>,
    pub umask: Option<u32>,
    pub processes: Option<u32>,
    pub threads: Option<u32>,
    pub home: Option<Vec<u8>>,
    pub chroot: Option<Vec<u8>>,
    pub lang: Option<Vec<u8>>,
    pub locale: Option<Vec<u8>>,
    pub python_home: Option<Vec<u8>>,
    pub python_path: Option<Vec<Vec<u8>>>,
    pub python_eggs: Option<Vec<u8>>,
    pub switch_interval: Option<Duration>,
    pub stack_size: Option<u64>,
    pub maximum_requests: Option<u64>,
    pub maximum_requests_jitter: Option<u64>,
    pub startup_timeout: Option<Duration>,
    pub deadlock_timeout: Option<Duration>,
    pub inactivity_timeout: Option<Duration>,
    pub request_timeout: Option<Duration>,
    pub interrupt_timeout: Option<Duration>,
    pub graceful_timeout: Option<Duration>,
    pub eviction_timeout: Option<Duration>,
    pub shutdown_timeout: Option<Duration>,
    pub restart_interval: Option<Duration>,
    pub connect_timeout: Option<Duration>,
    pub socket_timeout: Option<Duration>,
    pub queue_timeout: Option<Duration>,
    pub response_socket_timeout: Option<Duration>,
    pub response_buffer_size: Option<u64>,
    pub response_flush_delay: Option<Duration>,
    pub header_buffer_size: Option<u64>,
    pub send_buffer_size: Option<u32>,
    pub receive_buffer_size: Option<u32>,
    pub socket_user: Option<Account>,
    pub listen_backlog: Option<u32>,
    pub display_name: Option<Vec<u8>>,
    pub cpu_time_limit: Option<Duration>,
    pub cpu_priority: Option<i32>,
    pub memory_limit: Option<u64>,
    pub virtual_memory_limit: Option<u64>,
    pub max_rss: Option<u64>,
    pub script_user: Option<Account>,
    pub script_group: Option<AccountGroup>,
    pub server_metrics: Option<bool>,
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    pub env_file: Option<Vec<u8>>,
    pub clear_env: Option<bool>,
    pub no_new_privs: Option<bool>,
}

/// One `WSGIDaemonProcess` line as given.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupGiven {
    /// The group's name; never empty.
    pub name: Vec<u8>,
    /// Its options.
    pub options: DaemonOptions,
    /// The same as text, to show where two definitions differ.
    pub as_written: BTreeMap<&'static str, Vec<Vec<u8>>>,
    /// Names of the options that were given and have no effect yet.
    pub without_effect: Vec<&'static str>,
    /// Where it was said; the virtual host decides who may use the group.
    pub place: Place,
}

impl GroupGiven {
    /// Reads the arguments of a `WSGIDaemonProcess`.
    pub fn read(line: &mut Line<'_>) -> Result<GroupGiven, Invalid> {
        let (name, mut rest) = line.first_word()?;
        if name.first() == Some(&b'%') || name.contains(&b'=') {
            let expected = "the name of the process group before any option";
            return Err(line.invalid(&name, expected));
        }
        let mut group = GroupGiven {
            name,
            options: DaemonOptions::default(),
            as_written: BTreeMap::new(),
            without_effect: Vec::new(),
            place: line.place.clone(),
        };
        let unknown =
            |word| line.unknown_option(word, DAEMON_OPTIONS.iter().map(|option| option.name));
        while let Some((pair, after)) = next_pair(rest).map_err(unknown)? {
            rest = after;
            let Some(option) = DAEMON_OPTIONS
                .iter()
                .find(|row| row.name.as_bytes() == pair.option)
            else {
                return Err(unknown([pair.option, pair.value].join(&b'=')));
            };
            (option.set)(
                &mut group.options,
                &OptionValue {
                    option,
                    text: &pair.value,
                    line,
                },
            )?;
            if option.effect == Effect::Later && !group.without_effect.contains(&option.name) {
                group.without_effect.push(option.name);
            }
            group
                .as_written
                .entry(option.name)
                .or_default()
                .push(pair.value);
        }
        if group.options.script_user.is_some() && group.options.script_group.is_some() {
            let sentence = "script-user= and script-group= exclude each other; give one of them.";
            return Err(line.refuse(Problem::Because(sentence.into())));
        }
        for name in &group.without_effect {
            line.reading
                .note_without_effect(&format!("WSGIDaemonProcess {name}="), line.place);
        }
        Ok(group)
    }

    /// The options in which two definitions differ, as written here (`threads=15`). An option
    /// that only the other has reads `no threads=`.
    pub fn differences(&self, other: &GroupGiven) -> String {
        let mut names: Vec<_> = self
            .as_written
            .keys()
            .chain(other.as_written.keys())
            .collect();
        names.sort_unstable();
        names.dedup();
        let mut differing = Vec::new();
        for name in names {
            let here = self.as_written.get(name);
            if here != other.as_written.get(name) {
                differing.push(match here {
                    Some(values) => values
                        .iter()
                        .map(|value| format!("{name}={}", super::error::show(value)))
                        .collect::<Vec<_>>()
                        .join(" "),
                    None => format!("no {name}="),
                });
            }
        }
        differing.join(", ")
    }
}

/// The value of one option, with the ways to read it.
pub struct OptionValue<'a> {
    /// The row.
    pub option: &'static DaemonOption,
    /// The value, quotes taken off.
    pub text: &'a [u8],
    /// The line it stands in.
    pub line: &'a Line<'a>,
}

impl OptionValue<'_> {
    /// The refusal of this value; `expected` completes the sentence "expected ...".
    pub fn invalid(&self, expected: impl Into<std::borrow::Cow<'static, str>>) -> Invalid {
        self.line.refuse(Problem::OptionValue {
            option: self.option.name,
            value: self.text.to_vec(),
            expected: expected.into(),
        })
    }

    /// The text, or `None` when it is empty: the command-line server of mod_wsgi writes options
    /// it has no value for as `lang=''`.
    pub fn text(&self) -> Option<Vec<u8>> {
        (!self.text.is_empty()).then(|| self.text.to_vec())
    }

    /// A whole number within `range`.
    pub fn number<T>(&self, range: RangeInclusive<T>) -> Result<T, Invalid>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let number = std::str::from_utf8(self.text)
            .ok()
            .and_then(|text| text.parse().ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                self.invalid(format!(
                    "a whole number from {} to {}",
                    range.start(),
                    range.end()
                ))
            })
    }

    /// Seconds, 0 included.
    pub fn seconds(&self) -> Result<Duration, Invalid> {
        // C's int, so that no sum of two of them can overflow anywhere.
        let seconds = digits(self.text).filter(|&seconds| seconds <= i32::MAX as u64);
        seconds
            .map(Duration::from_secs)
            .ok_or_else(|| self.invalid("seconds as a whole number, 0 or more, without a unit"))
    }

    /// Milliseconds, 0 included.
    pub fn milliseconds(&self) -> Result<Duration, Invalid> {
        let milliseconds = digits(self.text).filter(|&count| count <= i32::MAX as u64);
        milliseconds.map(Duration::from_millis).ok_or_else(|| {
            self.invalid("milliseconds as a whole number, 0 or more, without a unit")
        })
    }

    /// Bytes: 0 for the default, else at least `least`.
    pub fn bytes(&self, least: u64) -> Result<u64, Invalid> {
        let bytes = digits(self.text).filter(|&bytes| bytes <= i64::MAX as u64);
        bytes
            .filter(|&bytes| bytes == 0 || bytes >= least)
            .ok_or_else(|| match least {
                0 | 1 => self.invalid("bytes as a whole number, 0 for no limit, without a unit"),
                _ => self.invalid(format!(
                    "0 for the default, or {least} bytes or more as a whole number without a unit"
                )),
            })
    }

    /// `On` or `Off`.
    pub fn on_off(&self) -> Result<bool, Invalid> {
        on_off(self.text).ok_or_else(|| self.invalid("On or Off"))
    }

    /// A path that begins with a slash.
    pub fn absolute_path(&self) -> Result<Vec<u8>, Invalid> {
        if self.text.first() == Some(&b'/') {
            Ok(self.text.to_vec())
        } else {
            Err(self.invalid("an absolute path"))
        }
    }

    /// A user by name or `#uid`. An error that the database cannot be asked is shown.
    pub fn account(&self) -> Result<Account, Invalid> {
        let system = self.line.system;
        let found = match self.id()? {
            Some(uid) => system.user_by_id(uid),
            None => system.user_by_name(self.text),
        };
        match found {
            Ok(Some(account)) => Ok(account),
            Ok(None) => Err(self.invalid("the name of a user that exists, or #uid of one")),
            Err(reason) => Err(self.invalid(format!("a user ({reason})"))),
        }
    }

    /// A user that is not root.
    pub fn common_account(&self) -> Result<Account, Invalid> {
        let account = self.account()?;
        if account.uid == 0 {
            return Err(self.invalid("a user other than root: applications never run as root"));
        }
        Ok(account)
    }

    /// A group by name or `#gid`.
    pub fn account_group(&self) -> Result<AccountGroup, Invalid> {
        self.group_called(self.text)
    }

    /// A group that is not root's.
    pub fn common_account_group(&self) -> Result<AccountGroup, Invalid> {
        let group = self.account_group()?;
        if group.gid == 0 {
            return Err(self.invalid("a group other than root's"));
        }
        Ok(group)
    }

    /// Groups by name or `#gid`, separated by commas.
    pub fn account_groups(&self) -> Result<Vec<u32>, Invalid> {
        let mut gids = Vec::new();
        for name in self.text.split(|&byte| byte == b',') {
            gids.push(self.group_called(name)?.gid);
        }
        let most = self.line.system.max_groups();
        // The primary group takes one of the places.
        if gids.len() + 1 > most {
            let expected = format!("at most {} groups, the system's limit", most.max(1) - 1);
            return Err(self.invalid(expected));
        }
        Ok(gids)
    }

    fn group_called(&self, name: &[u8]) -> Result<AccountGroup, Invalid> {
        let system = self.line.system;
        let found = match name {
            [] => Ok(None),
            [b'#', number @ ..] => match digits(number).and_then(|gid| u32::try_from(gid).ok()) {
                Some(gid) => system.group_by_id(gid),
                None => Ok(None),
            },
            _ => system.group_by_name(name),
        };
        match found {
            Ok(Some(group)) => Ok(group),
            Ok(None) => Err(self.invalid("the name of a group that exists, or #gid of one")),
            Err(reason) => Err(self.invalid(format!("a group ({reason})"))),
        }
    }

    fn id(&self) -> Result<Option<u32>, Invalid> {
        match self.text {
            [] => Err(self.invalid("the name of a user that exists, or #uid of one")),
            [b'#', number @ ..] => {
                let id = digits(number).and_then(|id| u32::try_from(id).ok());
                id.map(Some)
                    .ok_or_else(|| self.invalid("#uid with a number"))
            }
            _ => Ok(None),
        }
    }
}

/// A whole number of ASCII digits alone: no sign, no unit, no space.
pub fn digits(text: &[u8]) -> Option<u64> {
    let sound = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    sound
        .then(|| std::str::from_utf8(text).ok()?.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::super::tests::Configuration;
    use super::*;

    /// The options of `WSGIDaemonProcess shop` with these.
    fn options(text: &str) -> DaemonOptions {
        let configuration = Configuration::of(&format!("WSGIDaemonProcess shop {text}"));
        configuration.reading.groups[0].options.clone()
    }

    /// What is said about one wrong option.
    fn refusal(text: &str) -> String {
        Configuration::refusal(&format!("WSGIDaemonProcess shop {text}"))
    }

    fn refusal_of(option: &str, value: &str, expected: &str) {
        assert_eq!(
            refusal(&format!("{option}='{value}'")),
            format!("WSGIDaemonProcess: {option}=\"{value}\" is not valid, expected {expected}."),
        );
    }

    #[test]
    fn the_name_comes_first() {
        let group = Configuration::of("WSGIDaemonProcess \"my shop\"")
            .reading
            .groups[0]
            .clone();
        assert_eq!(group.name, b"my shop");
        assert_eq!(group.options, DaemonOptions::default());
        for text in ["WSGIDaemonProcess", "WSGIDaemonProcess ''"] {
            assert_eq!(
                Configuration::refusal(text),
                "WSGIDaemonProcess: expected \"WSGIDaemonProcess name [option=value ...]\".",
            );
        }
        assert_eq!(
            Configuration::refusal("WSGIDaemonProcess user=ann"),
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
        refusal_of("supplementary-groups", "ann,sudo,www-data,root", expected);
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
        let mut configuration = Configuration::new();
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
        let given = options("clear-env=on no-new-privs=OFF server-metrics=On");
        assert_eq!(given.clear_env, Some(true));
        assert_eq!(given.no_new_privs, Some(false));
        assert_eq!(given.server_metrics, Some(true));
        refusal_of("clear-env", "yes", "On or Off");
    }

    #[test]
    fn the_last_of_a_repeated_option_counts() {
        assert_eq!(options("threads=5 threads=7").threads, Some(7));
    }

    #[test]
    fn options_without_effect_are_noted() {
        let configuration =
            Configuration::of("WSGIDaemonProcess shop threads=5 queue-timeout=1 queue-timeout=2");
        assert_eq!(
            configuration.reading.groups[0].without_effect,
            ["queue-timeout"]
        );
        assert_eq!(
            configuration.reading.without_effect_sentence().unwrap(),
            "Accepted and checked, but without effect in this version: WSGIDaemonProcess \
             queue-timeout= (the first at shop.conf:1).",
        );
    }

    #[test]
    fn every_option_is_in_the_table_once_and_documented() {
        let mut names: Vec<_> = DAEMON_OPTIONS.iter().map(|option| option.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!((names.len(), count), (50, 50));
        for option in DAEMON_OPTIONS {
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
        let configuration = Configuration::of(
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
        assert_eq!(configuration.settle().refusals, Vec::<String>::new());
    }
}
