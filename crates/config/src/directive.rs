//! What a directive is: a row of the table in [`super::directives`], and how a line of the
//! configuration is applied to a record by the row's setter.
//!
//! Runs in: the Apache parent while the configuration is read; a child for `.htaccess`.
//!
//! A setter takes the record it writes into and one [`Line`]; it validates and stores, and does
//! nothing else.

use std::borrow::Cow;

use super::error::{Invalid, Problem};
use super::module_config::{DirectoryConfig, GlobalConfig, InterpreterConfig, ServerConfig};
use super::nearest::nearest;
use super::place::Place;
use super::reading::Reading;
use super::system::System;
use super::words::{next_word, words};

/// Where a directive may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Main server only, outside of every section (httpd: `RSRC_CONF` and `GLOBAL_ONLY`).
    Global,
    /// Main server and virtual hosts (httpd: `RSRC_CONF`).
    Server,
    /// The same and directory sections, not `.htaccess` (httpd: `RSRC_CONF | ACCESS_CONF`).
    Directory,
    /// The same and `.htaccess` under `AllowOverride FileInfo` (httpd: `OR_FILEINFO`).
    FileInfo,
    /// Directory sections, and `.htaccess` under `AllowOverride AuthConfig` (httpd: `OR_AUTHCFG`).
    AuthConfig,
}

impl Scope {
    /// The contexts in words, for the documentation.
    pub fn in_words(self) -> &'static str {
        match self {
            Scope::Global => "server config (not in a virtual host or section)",
            Scope::Server => "server config, virtual host",
            Scope::Directory => "server config, virtual host, directory",
            Scope::FileInfo => {
                "server config, virtual host, directory, .htaccess (AllowOverride FileInfo)"
            }
            Scope::AuthConfig => "directory, .htaccess (AllowOverride AuthConfig)",
        }
    }
}

/// How much depends on a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// It restricts who is served or trusted, or what code may do.
    Restricts,
    /// It decides which code runs, where, and as which user.
    Decides,
    /// It decides how requests are served: without it, nobody gains access and the same code runs.
    Manner,
}

/// Whether a setting does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It works.
    Now,
    /// It is checked and stored, but not built yet. A warning at start says so. Only for settings
    /// of [`Concern::Manner`].
    Later,
    /// It is accepted so that configurations of mod_wsgi load, but it has no effect here. The text
    /// says why.
    Never(&'static str),
}

/// A row of the table.
#[derive(Debug)]
pub struct Directive {
    /// The name; a section's begins with `<`, as httpd wants it.
    pub name: &'static str,
    /// Where it may stand.
    pub scope: Scope,
    /// Its arguments.
    pub usage: &'static str,
    /// The default, in words.
    pub default: &'static str,
    /// What depends on it.
    pub concern: Concern,
    /// Whether it has an effect.
    pub effect: Effect,
    /// One line, shown by `httpd -L`.
    pub help: &'static str,
    /// The text of its page: paragraphs of Markdown.
    pub doc: &'static str,
    /// Lines of configuration that use it; checked by a test.
    pub example: &'static str,
    /// Its setter.
    pub setter: Setter,
}

/// A setter, by the record it writes into.
#[derive(Clone, Copy, Debug)]
pub enum Setter {
    /// Into the server.
    Server(fn(&mut ServerConfig, &mut Line<'_>) -> Result<(), Invalid>),
    /// Into what only the main server has.
    Global(fn(&mut GlobalConfig, &mut Line<'_>) -> Result<(), Invalid>),
    /// Into the open `<WSGIInterpreterOptions>`, else the top level.
    Interpreter(fn(&mut InterpreterConfig, &mut Line<'_>) -> Result<(), Invalid>),
    /// Into a directory section, or the server's own directory record.
    Directory(fn(&mut DirectoryConfig, &mut Line<'_>) -> Result<(), Invalid>),
}

impl Directive {
    /// Whether it opens a section: its children are to be read while it is open.
    pub fn is_section(&self) -> bool {
        self.name.starts_with('<')
    }
}

/// The record a directive is applied to.
#[derive(Debug)]
pub enum Target<'a> {
    /// The directive stands in a server, outside of directory sections (httpd: `cmd->path` NULL).
    Server(&'a mut ServerConfig),
    /// It stands in a directory section or `.htaccess`.
    Directory(&'a mut DirectoryConfig),
}

/// One directive as it stands in the file, and what its setter may use.
pub struct Line<'a> {
    /// The row.
    pub directive: &'static Directive,
    /// The text after the name; for a section without the closing `>`.
    pub args: &'a [u8],
    /// Where it stands.
    pub place: &'a Place,
    /// The machine.
    pub system: &'a dyn System,
    /// Whether it stands in a `<WSGIInterpreterOptions>` section with `application-group=`.
    pub for_application_group: bool,
    /// The notes about the whole configuration.
    pub reading: &'a mut Reading,
}

/// Reads one directive: checks `raw_args`, the text after its name, and stores what it says in
/// `target` and `reading`.
///
/// On error the records may be incomplete. That does no harm: httpd refuses the whole configuration
/// or, for a `.htaccess` file, answers 500.
pub fn apply(
    directive: &'static Directive,
    target: Target<'_>,
    raw_args: &[u8],
    place: &Place,
    system: &dyn System,
    reading: &mut Reading,
) -> Result<(), Invalid> {
    let misplaced = |where_| {
        let sentence = format!("{where_} Allowed in: {}.", directive.scope.in_words());
        Err(Invalid {
            directive: directive.name,
            problem: Problem::Because(sentence),
        })
    };
    if directive.effect == Effect::Later {
        reading.note_without_effect(directive.name, place);
    }
    let section = match &target {
        Target::Server(server) => server.global.open_block(),
        Target::Directory(_) => None,
    };
    let for_application_group = section.is_some_and(|block| block.application_group.is_some());
    let mut line = Line {
        directive,
        args: raw_args,
        place,
        system,
        for_application_group,
        reading,
    };
    match (directive.setter, target) {
        (Setter::Server(set), Target::Server(server)) => set(server, &mut line),
        (Setter::Global(set), Target::Server(server)) => set(&mut server.global, &mut line),
        (Setter::Interpreter(set), Target::Server(server)) => {
            set(server.global.interpreter_target(), &mut line)
        }
        (Setter::Directory(_), Target::Server(_)) if directive.scope == Scope::AuthConfig => {
            misplaced("it stands outside of any directory section.")
        }
        (Setter::Directory(set), Target::Server(server)) => set(&mut server.directory, &mut line),
        (Setter::Directory(set), Target::Directory(dir)) => set(dir, &mut line),
        (_, Target::Directory(_)) => misplaced("it cannot stand in a directory section."),
    }
}

impl Line<'_> {
    /// The refusal of this directive for `problem`.
    pub fn refuse(&self, problem: Problem) -> Invalid {
        Invalid {
            directive: self.directive.name,
            problem,
        }
    }

    /// The refusal of `value`; `expected` completes the sentence "expected ...".
    pub fn invalid(&self, value: &[u8], expected: impl Into<Cow<'static, str>>) -> Invalid {
        self.refuse(Problem::Value {
            value: value.to_vec(),
            expected: expected.into(),
        })
    }

    /// The refusal for the wrong number of words.
    pub fn misused(&self) -> Invalid {
        self.refuse(Problem::Usage {
            usage: self.directive.usage,
        })
    }

    /// The refusal of `word`, which is no `option=value` with one of the `known` options.
    pub fn unknown_option(
        &self,
        word: Vec<u8>,
        known: impl IntoIterator<Item = &'static str>,
    ) -> Invalid {
        let option = word.split(|&byte| byte == b'=').next().unwrap_or_default();
        let nearest = nearest(option, known);
        self.refuse(Problem::UnknownOption { word, nearest })
    }

    /// All words; at least one, none of them empty.
    pub fn words(&self) -> Result<Vec<Vec<u8>>, Invalid> {
        let words = words(self.args);
        if words.is_empty() || words.iter().any(Vec::is_empty) {
            return Err(self.misused());
        }
        Ok(words)
    }

    /// The first word, which may not be empty, and the rest of the line.
    pub fn first_word(&self) -> Result<(Vec<u8>, &[u8]), Invalid> {
        match next_word(self.args) {
            Some((word, rest)) if !word.is_empty() => Ok((word, rest)),
            _ => Err(self.misused()),
        }
    }

    /// The only word.
    pub fn word(&self) -> Result<Vec<u8>, Invalid> {
        match self.first_word()? {
            (word, []) => Ok(word),
            _ => Err(self.misused()),
        }
    }

    /// The only word, which is `On` or `Off` in any case.
    pub fn on_off(&self) -> Result<bool, Invalid> {
        let word = self.word()?;
        on_off(&word).ok_or_else(|| self.invalid(&word, "On or Off"))
    }
}

/// `On` or `Off` in any case.
pub fn on_off(word: &[u8]) -> Option<bool> {
    if word.eq_ignore_ascii_case(b"on") {
        Some(true)
    } else if word.eq_ignore_ascii_case(b"off") {
        Some(false)
    } else {
        None
    }
}
