//! Writes `docs/directives` and the list in DIFFERENCES.md of what is not there yet from the tables
//! of directives and options, and removes the pages of directives that no longer exist.

use std::path::Path;
use std::{fs, io};

use config::pages::{pages, with_not_there_yet};

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/directives");
    fs::create_dir_all(&folder)?;
    let pages = pages();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let known = pages.iter().any(|page| path.ends_with(&page.name));
        if !known {
            fs::remove_file(path)?;
        }
    }
    for page in &pages {
        fs::write(folder.join(&page.name), &page.text)?;
    }
    let differences = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../DIFFERENCES.md");
    match with_not_there_yet(&fs::read_to_string(&differences)?) {
        Some(page) => fs::write(differences, page)?,
        None => return Err(io::Error::other("DIFFERENCES.md has lost its marks")),
    }
    println!("{} pages in {}", pages.len(), folder.display());
    Ok(())
}
