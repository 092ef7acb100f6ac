//! Who may log in where HAProxy shows its statistics.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Serialize;

use crate::model::crypt::check_hash;

/// A user of the statistics.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct StatsUser {
    /// The name.
    pub name: String,
    /// The hash of the password, of crypt(3).
    pub hash: String,
}

impl fmt::Debug for StatsUser {
    /// Without the hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatsUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads a file of `user:hash` lines, as `htpasswd` writes them; empty lines and those that begin with `#` do not count.
///
/// # Errors
/// What is wrong with it; no error repeats a hash.
pub(super) fn read(path: &Path) -> Result<Vec<StatsUser>, String> {
    let shown = path.display();
    let unreadable = |error| format!("{shown} cannot be read: {error}");
    let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(format!(
            "{shown} holds hashes of passwords, and everybody may open it: chmod 600 {shown}"
        ));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let (mut users, mut names) = (Vec::new(), BTreeSet::new());
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let user = user(line).map_err(|expected| format!("{shown}:{number}: {expected}"))?;
        if !names.insert(user.name.clone()) {
            return Err(format!("{shown}:{number}: user {} is there twice", user.name));
        }
        users.push(user);
    }
    if users.is_empty() {
        return Err(format!("{shown} holds no user; expected lines of user:hash"));
    }
    Ok(users)
}

fn user(line: &str) -> Result<StatsUser, String> {
    let (name, hash) = line.split_once(':').ok_or("expected user:hash")?;
    let known = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(known) {
        return Err("expected a user of 1 to 64 letters, digits and -_.@".to_owned());
    }
    check_hash(hash)?;
    Ok(StatsUser { name: name.to_owned(), hash: hash.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, mode: u32) -> Result<Vec<StatsUser>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        read(file.path())
    }

    #[test]
    fn a_file_of_htpasswd_is_taken_if_nobody_else_reads_it_and_its_hashes_are_quick() {
        let good =
            format!("# who watches\njoe:$2y$05${}\n\nann:$6$abcdefgh${}\n", "a".repeat(53), "b".repeat(86));
        let users = read_text(&good, 0o600).unwrap();
        assert_eq!(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["joe", "ann"]);
        assert!(!format!("{users:?}").contains("aaaa"));
        assert!(read_text(&good, 0o644).unwrap_err().contains("chmod 600"));
        for (text, expected) in [
            (String::new(), "holds no user"),
            ("joe\n".to_owned(), ":1: expected user:hash"),
            ("joe:secret\n".to_owned(), "hash of crypt(3)"),
            (format!("a b:$6$abcdefgh${}\n", "b".repeat(86)), "expected a user"),
            (format!("joe:$2y$12${}\n", "a".repeat(53)), "5 ms"),
            (good.replace("ann", "joe"), ":4: user joe is there twice"),
        ] {
            let error = read_text(&text, 0o600).unwrap_err();
            assert!(error.contains(expected) && !error.contains("secret\n"), "{text}: {error}");
        }
    }
}
