//! The text of `docs/errors.md`.
//!
//! Runs in: nothing that serves. `cargo run -p wsgi-wire --example errors-page` writes the page, and
//! a test fails when the one in the repository is not this.

use super::{all, Event};

const HEAD: &str = "\
<!-- Made by `cargo run -p wsgi-wire --example errors-page` from crates/wire/src/log_id. -->
# Numbers in the error log

Each line of mod_wsgi that somebody may have to act on begins with a number. Those up to 0210 are
those of the C module mod_wsgi 6.1.1, for the same event; those from 0300 on are of this one. A number never
changes its meaning.

What httpd writes in front of the number, and what belongs to a virtual host's log and what to the
main one, is in [guides/logging.md](guides/logging.md). Symptoms, and the lines to look for, are in
[guides/troubleshooting.md](guides/troubleshooting.md).

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
        "\n## {}\n\n*{}*; level {}{status}.\n\n{}\n\n```\n{}\n```\n\n{}\n",
        event.id,
        short(event),
        event.level,
        event.when,
        event.example,
        event.mend,
    )
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
