//! One option of `WSGIDaemonProcess`: what a row of the table is made of, and how a setter reads
//! its value.
//!
//! Runs in: the Apache parent while the configuration is read.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::daemon_process::DaemonOptions;
use crate::directive::{on_off, Effect, Line};
use crate::error::{Invalid, Problem};
use crate::system::{Account, AccountGroup};

/// One option of `WSGIDaemonProcess`: a row of the table.
#[derive(Debug)]
pub struct DaemonOption {
    /// The name, left of the `=`.
    pub name: &'static str,
    /// What stands right of it, in words for the documentation.
    pub value: &'static str,
    /// The default, in words.
    pub default: &'static str,
    /// Whether it has an effect.
    pub effect: Effect,
    /// Its paragraph in the documentation.
    pub doc: &'static str,
    /// Its setter.
    pub set: fn(&mut DaemonOptions, &OptionValue<'_>) -> Result<(), Invalid>,
}

/// The value of one option, with the ways to read it.
pub struct OptionValue<'a> {
    /// The row.
    pub option: &'static DaemonOption,
    /// The value, without quotes.
    pub text: &'a [u8],
    /// The line it stands in.
    pub line: &'a Line<'a>,
}

impl OptionValue<'_> {
    /// The refusal of this value; `expected` completes the sentence "expected ...".
    pub fn invalid(&self, expected: impl Into<Cow<'static, str>>) -> Invalid {
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

    /// Groups by name or `#gid`, separated by commas; none of them root's.
    pub fn account_groups(&self) -> Result<Vec<u32>, Invalid> {
        let mut gids = Vec::new();
        for name in self.text.split(|&byte| byte == b',') {
            let gid = self.group_called(name)?.gid;
            if gid == 0 {
                return Err(self.invalid("groups other than root's"));
            }
            gids.push(gid);
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
