//! The pages of `docs/directives`, made from the tables.
//!
//! Runs in: nothing that serves. `cargo run -p wsgi-config --example directive-docs` writes the
//! pages, and a test fails when those in the repository are not these.

use wire::log_id::wrap;

use super::daemon_options;
use super::directive::{Directive, Effect};
use super::directives::DIRECTIVES;

/// Longest line of a page.
const WIDTH: usize = 100;

/// A file of the documentation.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Its name within `docs/directives`.
    pub name: String,
    /// Markdown.
    pub text: String,
}

const SOURCE: &str =
    "<!-- Made by `cargo run -p wsgi-config --example directive-docs` from crates/config. -->\n";
const BEGIN: &str =
    "<!-- Made by `cargo run -p wsgi-config --example directive-docs` from crates/config: -->";
const END: &str = "<!-- (end of what is made) -->";
const OPTIONS_PAGE: &str = "WSGIDaemonProcess-options.md";

/// Every page: the index, one for each directive, one for the options of `WSGIDaemonProcess`.
pub fn pages() -> Vec<Page> {
    let mut pages = vec![Page {
        name: "README.md".into(),
        text: index(),
    }];
    pages.extend(DIRECTIVES.iter().map(|row| Page {
        name: format!("{}.md", plain(row)),
        text: directive(row),
    }));
    pages.push(Page {
        name: OPTIONS_PAGE.into(),
        text: options(),
    });
    pages
}

/// The name without a section's bracket.
fn plain(row: &Directive) -> &'static str {
    row.name.trim_start_matches('<')
}

fn index() -> String {
    let mut text = format!("{SOURCE}# Directives\n\n");
    for row in DIRECTIVES {
        let (name, help) = (plain(row), row.help);
        let line = format!("[{name}]({name}.md): {help}{}", mark(row.effect));
        text.push_str(&item(&line));
    }
    text.push_str(&format!(
        "- [Options of WSGIDaemonProcess]({OPTIONS_PAGE})\n"
    ));
    text
}

/// The part of DIFFERENCES.md that lists what is still to be built: everything of the table that
/// does nothing.
pub fn not_there_yet() -> String {
    let mut text = String::new();
    for row in DIRECTIVES {
        let what = match row.effect {
            Effect::Now => continue,
            Effect::Later => "checked, and without effect yet".to_owned(),
            Effect::Never(why) => format!("accepted, and there is nothing for it to do: {why}"),
        };
        let name = plain(row);
        text.push_str(&item(&format!(
            "[{name}](docs/directives/{name}.md): {what}"
        )));
    }
    text
}

/// `page` with what stands between the two marks replaced by [`not_there_yet`]; `None` where they
/// are missing.
pub fn with_not_there_yet(page: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some([before, BEGIN, "\n\n", &not_there_yet(), "\n", END, after].concat())
}

/// An item of a list, with lines of at most 100 characters.
fn item(text: &str) -> String {
    format!("- {}\n", wrap(98, text).replace('\n', "\n  "))
}

fn mark(effect: Effect) -> &'static str {
    match effect {
        Effect::Now => "",
        Effect::Later => " *No effect yet.*",
        Effect::Never(_) => " *No effect.*",
    }
}

fn directive(row: &Directive) -> String {
    let effect = match row.effect {
        Effect::Now => "yes".to_owned(),
        Effect::Later => "none yet: checked, carried, and said once when Apache starts".to_owned(),
        Effect::Never(why) => format!("none: {why}"),
    };
    format!(
        "{SOURCE}# {}\n\n{}\n\n\
         {}{}{}{}\n\
         {}\n\n## Example\n\n```apache\n{}\n```\n",
        plain(row),
        row.help,
        item(&format!("**Usage:** `{}`", row.usage)),
        item(&format!("**Context:** {}", row.scope.in_words())),
        item(&format!("**Default:** {}", row.default)),
        item(&format!("**Effect:** {effect}")),
        wrap(WIDTH, row.doc),
        row.example,
    )
}

fn options() -> String {
    let mut text = format!(
        "{SOURCE}# Options of WSGIDaemonProcess\n\n{}",
        wrap(
            WIDTH,
            "`WSGIDaemonProcess name option=value ...`: a value with spaces is quoted, \
             `home=\"/srv/my shop\"`; there is no space around the `=`. Times are whole numbers \
             without a unit, sizes are bytes. See [WSGIDaemonProcess](WSGIDaemonProcess.md)."
        )
    );
    text.push('\n');
    for option in daemon_options::all() {
        let (name, value, default) = (option.name, option.value, option.default);
        let doc = format!("{}{}", option.doc, mark(option.effect));
        text.push_str(&format!(
            "\n## {name}\n\n{}\n\n{}\n",
            wrap(WIDTH, &format!("`{name}=` {value}. Default: {default}.")),
            wrap(WIDTH, &doc),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_pages_in_the_repository_are_those_of_the_tables() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/directives");
        let mut names = BTreeSet::new();
        for page in pages() {
            let committed = std::fs::read_to_string(folder.join(&page.name)).unwrap_or_default();
            assert!(
                committed == page.text,
                "docs/directives/{} is out of date: cargo run --example directive-docs",
                page.name,
            );
            names.insert(page.name);
        }
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                names.contains(&name),
                "docs/directives/{name} belongs to no directive"
            );
        }
    }

    #[test]
    fn the_list_of_what_is_not_there_yet_is_the_table_s() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../DIFFERENCES.md");
        let page = std::fs::read_to_string(path).unwrap();
        assert!(
            with_not_there_yet(&page).as_deref() == Some(&page),
            "cargo run -p wsgi-config --example directive-docs"
        );
    }
}
