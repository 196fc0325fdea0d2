//! The text of `docs/errors.md`.
//!
//! Runs in: nothing that serves. `cargo run -p wsgi-wire --example errors-page` writes the page,
//! and a test fails when the one in the repository is not this.

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

/// Longest line of the page.
const WIDTH: usize = 100;

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
        wrap(
            WIDTH,
            &format!("*{}*; level {}{status}.", short(event), event.level)
        ),
        wrap(WIDTH, event.when),
        event.example,
        wrap(WIDTH, event.mend),
    )
}

/// Wraps `text` into lines of at most `width` characters. Blank lines separate paragraphs.
pub fn wrap(width: usize, text: &str) -> String {
    let mut wrapped = String::new();
    for paragraph in text.split("\n\n") {
        if !wrapped.is_empty() {
            wrapped.push_str("\n\n");
        }
        let mut column = 0;
        for word in paragraph.split_whitespace() {
            let length = word.chars().count();
            if column > 0 && column + 1 + length > width {
                wrapped.push('\n');
                column = 0;
            } else if column > 0 {
                wrapped.push(' ');
                column += 1;
            }
            wrapped.push_str(word);
            column += length;
        }
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn text_is_wrapped_by_paragraph() {
        let long = "word ".repeat(30);
        let text = super::wrap(100, &format!("one\n  two\n\n{long}"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["one two", ""]);
        assert_eq!((lines[2].len(), lines[3].len()), (99, 49));
    }

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
