//! Writes `docs/errors.md` from the registry of log numbers.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    std::fs::write(&path, wire::log_id::page())?;
    println!("{} numbers in docs/errors.md", wire::log_id::all().len());
    Ok(())
}
