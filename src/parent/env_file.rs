//! Reads the file of `env-file=`: one `NAME=value` on each line.
//!
//! Runs in: the Apache parent, while a configuration is checked or put into force. The parent may
//! be root, and the values go to a process of another user. So the file must belong to root or that
//! user, and nobody else may be able to replace it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use wire::codec::Bytes;
use wire::log_id::ENV_FILE_UNUSABLE;

use config::ResolvedGroup;

/// Largest file, in bytes.
const MAX_FILE: u64 = 64 * 1024;

type Variables = Vec<(Bytes, Bytes)>;

/// The variables of the group's file, in order; none where it has no file.
///
/// # Errors
/// A numbered sentence.
pub fn read(group: &ResolvedGroup) -> Result<Variables, String> {
    let Some(path) = &group.env_file else {
        return Ok(Vec::new());
    };
    let owners = [
        0,
        os::accounts::effective_uid(),
        group.process_group.identity.uid,
    ];
    variables(Path::new(std::ffi::OsStr::from_bytes(path)), owners).map_err(|why| {
        format!(
            "{ENV_FILE_UNUSABLE}: process group \"{}\": env-file={}: {why}",
            group.process_group.name.text(),
            String::from_utf8_lossy(path)
        )
    })
}

/// Whether the group has a file that this process may read.
pub fn is_readable(group: &ResolvedGroup) -> bool {
    let file = group.env_file.as_deref();
    file.is_some_and(|path| os::descriptor::may(os::descriptor::Access::Read, path).is_ok())
}

fn variables(path: &Path, owners: [u32; 3]) -> Result<Variables, String> {
    let in_words = |error: io::Error| error.to_string();
    let path = path.canonicalize().map_err(in_words)?;
    // Follows no symbolic link, and does not wait for the writer of a pipe.
    let mut file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(&path)
        .map_err(in_words)?;
    let facts = file.metadata().map_err(in_words)?;
    if !facts.is_file() {
        return Err("it is not a file".to_owned());
    }
    judge(&path, &facts, &owners)?;
    // The user can read his own file anyway. Any other file must lie where he cannot have put it.
    let allowed = match facts.uid() == owners[2] {
        true => &owners[..],
        false => &owners[..2],
    };
    for directory in path.ancestors().skip(1) {
        judge(
            directory,
            &fs::metadata(directory).map_err(in_words)?,
            allowed,
        )?;
    }
    if facts.len() > MAX_FILE {
        return Err(format!("it is larger than {} KiB", MAX_FILE / 1024));
    }
    let mut text = Vec::new();
    (&mut file)
        .take(MAX_FILE)
        .read_to_end(&mut text)
        .map_err(in_words)?;
    parse(&text)
}

fn judge(path: &Path, facts: &Metadata, owners: &[u32]) -> Result<(), String> {
    let shown = path.display();
    if !owners.contains(&facts.uid()) {
        return Err(format!(
            "{shown} belongs to uid {}, who could change it; chown root {shown}",
            facts.uid()
        ));
    }
    let sticky = facts.is_dir() && facts.mode() & libc::S_ISVTX != 0;
    if facts.mode() & 0o022 != 0 && !sticky {
        return Err(format!(
            "{shown} has mode {:04o}: others could change it; chmod go-w {shown}",
            facts.mode() & 0o7777
        ));
    }
    Ok(())
}

/// Skips blank lines, lines that begin with `#`, and `export ` before a name, and removes quotes
/// around a whole value, so that files for shells and service managers can be used.
fn parse(text: &[u8]) -> Result<Variables, String> {
    let mut variables = Vec::new();
    for (line, number) in text.split(|&byte| byte == b'\n').zip(1..) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let line = line.strip_prefix(b"export ").unwrap_or(line).trim_ascii();
        let (name, value) = match line.iter().position(|&byte| byte == b'=') {
            Some(at) if is_name(&line[..at]) => (&line[..at], &line[at + 1..]),
            _ => return Err(format!("line {number} is not NAME=value")),
        };
        if value.contains(&0) {
            return Err(format!("line {number} holds a NUL byte"));
        }
        variables.push((name.to_vec().into(), unquoted(value).to_vec().into()));
    }
    Ok(variables)
}

fn is_name(name: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    !name.is_empty() && name.iter().all(allowed) && !name[0].is_ascii_digit()
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{symlink, PermissionsExt};

    #[test]
    fn lines_are_variables_comments_or_a_mistake_with_its_number() {
        let text = b"# a comment\nA=1\n\n export B = x \nC=\"a b\"\nD='q\"'\nE=\nA=2=3\r\n";
        assert_eq!(parse(text), Err("line 4 is not NAME=value".to_owned()));
        let text = b"A=1\n export B=x \nC=\"a b\"\nD='q\"'\nE=\nA=2=3\r\n";
        let expected = [
            ("A", "1"),
            ("B", "x"),
            ("C", "a b"),
            ("D", "q\""),
            ("E", ""),
            ("A", "2=3"),
        ];
        let expected: Variables = expected.map(|(n, v)| (n.into(), v.into())).to_vec();
        assert_eq!(parse(text), Ok(expected));
        for text in ["novalue", "=x", "1A=x", "A-B=x"] {
            assert_eq!(
                parse(text.as_bytes()),
                Err("line 1 is not NAME=value".to_owned())
            );
        }
    }

    #[test]
    fn a_file_that_somebody_else_could_have_put_there_is_refused() {
        let own = os::accounts::effective_uid();
        let directory = std::env::temp_dir().join(format!("wsgi-env-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let file = directory.join("env");
        fs::write(&file, "A=1").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode));
        mode(&directory, 0o755).unwrap();
        mode(&file, 0o600).unwrap();
        let owners = [0, own, 12345];
        assert_eq!(variables(&file, owners).unwrap().len(), 1);
        symlink(&file, directory.join("link")).unwrap();
        assert!(variables(&directory.join("link"), owners).is_ok());
        assert!(variables(&directory, owners)
            .unwrap_err()
            .contains("not a file"));
        mode(&file, 0o666).unwrap();
        assert!(variables(&file, owners).unwrap_err().contains("chmod go-w"));
        mode(&file, 0o600).unwrap();
        mode(&directory, 0o777).unwrap();
        assert!(variables(&file, owners).unwrap_err().contains("chmod go-w"));
        mode(&directory, 0o755).unwrap();
        if own == 0 {
            std::os::unix::fs::chown(&directory, Some(12345), None).unwrap();
            // Root's file in the user's directory might be a link to any file of root's.
            assert!(variables(&file, owners)
                .unwrap_err()
                .contains("belongs to uid"));
            std::os::unix::fs::chown(&file, Some(12345), None).unwrap();
            assert!(variables(&file, owners).is_ok());
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
