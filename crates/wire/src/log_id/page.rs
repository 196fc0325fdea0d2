//! The text of `docs/errors.md`.
//!
//! Runs in: nothing that serves. `cargo run -p wsgi-wire --example errors-page` writes the page, and
//! a test fails when the one in the repository is not this.

use super::{all, Event};

const HEAD: &str = "\
<!-- Made by `cargo run -p wsgi-wire --example errors-page` from crates/wire/src/log_id. -->
# Numbers in the error log

A line of the error log that somebody may have to act on begins with a number. Numbers up to 0210
are those of the C module mod_wsgi 6.1.1, for the same event. Numbers from 0300 on are new here. A
number never changes its meaning.

[guides/logging.md](guides/logging.md) explains what httpd writes in front of the number, and which
line is in which log. [guides/troubleshooting.md](guides/troubleshooting.md) lists symptoms and the
lines to look for.

";

/// The whole page.
pub fn page() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("| number | status | when |\n|---|---|---|\n");
    for event in all() {
        let id = event.id.to_string();
        let anchor = id.to_lowercase();
        let name = short(event);
        text.push_str(&format!(
            "| [{id}](#{anchor}) | {} | {name} |\n",
            event.status
        ));
    }
    for event in all() {
        text.push_str(&section(event));
    }
    text
}

/// The constant's name in words.
fn short(event: &Event) -> String {
    event.name.to_lowercase().replace('_', " ")
}

fn section(event: &Event) -> String {
    let status = match event.status {
        "" => String::new(),
        status => format!("; the client gets {status}"),
    };
    format!(
        "\n## {}\n\n{}\n\n{}\n\n```\n{}\n```\n\n{}\n",
        event.id,
        filled(&format!(
            "*{}*; level {}{status}.",
            short(event),
            event.level
        )),
        filled(event.when),
        event.example,
        filled(event.mend),
    )
}

/// `text` with lines of at most 100 characters; paragraphs are kept.
pub fn filled(text: &str) -> String {
    let mut filled = String::new();
    for paragraph in text.split("\n\n") {
        if !filled.is_empty() {
            filled.push_str("\n\n");
        }
        let mut column = 0;
        for word in paragraph.split_whitespace() {
            let length = word.chars().count();
            if column > 0 && column + 1 + length > 100 {
                filled.push('\n');
                column = 0;
            } else if column > 0 {
                filled.push(' ');
                column += 1;
            }
            filled.push_str(word);
            column += length;
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_page_in_the_repository_is_that_of_the_registry() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == super::page(),
            "docs/errors.md is out of date: cargo run -p wsgi-wire --example errors-page"
        );
    }
}
