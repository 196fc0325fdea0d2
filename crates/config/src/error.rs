//! The refusal of a directive. Its text is the error message that the administrator reads.
//!
//! Runs in: the Apache parent, while the configuration is read. httpd puts file and line in front
//! of the sentence ("Syntax error on line 14 of ..."), so the sentence names only the directive,
//! the value and what is allowed.

use std::borrow::Cow;
use std::fmt;

/// Why a directive was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The directive, as in the table.
    pub directive: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The (only) value is not one of those allowed. `expected` completes "expected ...".
    Value {
        value: Vec<u8>,
        expected: Cow<'static, str>,
    },
    /// The value of `option=` is not one of those allowed.
    OptionValue {
        option: &'static str,
        value: Vec<u8>,
        expected: Cow<'static, str>,
    },
    /// A word that is not `option=value` with a known option.
    UnknownOption {
        word: Vec<u8>,
        nearest: Option<&'static str>,
    },
    /// The wrong number of words; `usage` is the whole line as it should be.
    Usage { usage: &'static str },
    /// The same option stands twice in one line.
    Repeated { option: &'static str },
    /// Anything else, as a whole sentence without the directive's name.
    Because(String),
}

/// The name of a process group for messages.
pub fn show_group(name: &[u8]) -> String {
    show(wire::own_group::shown(name))
}

/// `text` for messages: control characters and bytes that are not UTF-8 are escaped.
pub fn show(text: &[u8]) -> String {
    let mut shown = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                shown.extend(c.escape_default());
            } else {
                shown.push(c);
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.directive;
        match &self.problem {
            Problem::Value { value, expected } => {
                write!(
                    f,
                    "{name}: \"{}\" is not valid, expected {expected}.",
                    show(value)
                )
            }
            Problem::OptionValue {
                option,
                value,
                expected,
            } => {
                write!(
                    f,
                    "{name}: {option}=\"{}\" is not valid, expected {expected}.",
                    show(value)
                )
            }
            Problem::UnknownOption { word, nearest } => {
                let word = show(word);
                if word.contains('=') {
                    write!(f, "{name}: \"{word}\" is not one of its options.")?;
                } else {
                    write!(f, "{name}: \"{word}\" is not of the form option=value.")?;
                }
                match nearest {
                    Some(nearest) => write!(f, " Did you mean {nearest}=?"),
                    None => Ok(()),
                }
            }
            Problem::Usage { usage } => write!(f, "{name}: expected \"{usage}\"."),
            Problem::Repeated { option } => write!(f, "{name}: {option}= is given twice."),
            Problem::Because(sentence) => write!(f, "{name}: {sentence}"),
        }
    }
}

impl std::error::Error for Invalid {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_names_directive_value_and_what_would_be_right() {
        let problem = Problem::Value {
            value: b"maybe".to_vec(),
            expected: "On or Off".into(),
        };
        let invalid = Invalid {
            directive: "WSGIScriptReloading",
            problem,
        };
        let sentence = "WSGIScriptReloading: \"maybe\" is not valid, expected On or Off.";
        assert_eq!(invalid.to_string(), sentence);
    }

    #[test]
    fn text_of_a_stranger_is_escaped() {
        assert_eq!(show(b"a\nb\x1b[1m\xff\xc3\xa9"), "a\\nb\\u{1b}[1m\\xffé");
    }
}
