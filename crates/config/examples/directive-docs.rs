//! Writes `docs/directives` from the tables of directives and options, and takes away the pages
//! of directives that are no more.

use std::path::Path;
use std::{fs, io};

use config::pages::pages;

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
    println!("{} pages in {}", pages.len(), folder.display());
    Ok(())
}
