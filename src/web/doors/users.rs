//! Who may in: users with passwords, and tokens for scripts, in one file.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use argon2::password_hash::phc::PasswordHash;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use toml::Value;

use crate::web::Role;

mod file;

pub use file::{UsersError, UsersFile};

/// The longest name of a user or a token, in bytes.
const NAME_MAX: usize = 64;
/// What each token begins with, so that one that leaked is recognised.
const TOKEN_MARK: &str = "causeway_";

/// Everybody who may in.
#[derive(Clone, Debug, Default)]
pub struct Users {
    /// The users, by name.
    pub users: BTreeMap<String, User>,
    /// The tokens, by the SHA-256 of their text.
    tokens: HashMap<String, Token>,
    /// What cannot be used, and is as if it were not there.
    pub mistakes: Vec<String>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What he may do.
    pub role: Role,
    /// The hash of his password, by argon2id, in PHC's form; without one he comes by a trusted proxy only.
    pub password: Option<String>,
}

/// A token of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its name, as the audit log has it.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// Until when; `None`: until it is removed.
    pub expires: Option<Timestamp>,
}

/// A user or a token as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    role: String,
    #[serde(default)]
    prefixes: Vec<String>,
    password: Option<String>,
    sha256: Option<String>,
    expires: Option<String>,
}

impl Users {
    /// Reads the text of a users file. An entry that cannot be used is a mistake, the others stand.
    ///
    /// # Errors
    /// The text as a whole is not one of users and tokens.
    pub fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table =
            text.parse().map_err(|error: toml::de::Error| error.message().trim().replace('\n', "; "))?;
        let mut users = Self::default();
        for (kind, entries) in table {
            let Value::Table(entries) = entries else { return Err(format!("{kind} is not a table")) };
            if kind != "users" && kind != "tokens" {
                return Err(format!("{kind} is neither users nor tokens"));
            }
            for (name, entry) in entries {
                if let Err(error) = users.take(&kind, &name, entry) {
                    users.mistakes.push(format!("{kind}.{name}: {error}"));
                }
            }
        }
        Ok(users)
    }

    fn take(&mut self, kind: &str, name: &str, entry: Value) -> Result<(), String> {
        check_name(name)?;
        let entry = Entry::deserialize(entry).map_err(|error| error.message().trim().replace('\n', "; "))?;
        let role = role(&entry.role, entry.prefixes)?;
        if kind == "users" {
            if entry.sha256.is_some() || entry.expires.is_some() {
                return Err("sha256 and expires are of tokens".to_owned());
            }
            if let Some(password) = &entry.password {
                check_hash(password)?;
            }
            self.users.insert(name.to_owned(), User { role, password: entry.password });
            return Ok(());
        }
        let Some(sha256) = entry.sha256.filter(|_| entry.password.is_none()) else {
            return Err("a token has sha256, and no password".to_owned());
        };
        if sha256.len() != 64 || !sha256.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err("sha256 is not 64 hexadecimal digits".to_owned());
        }
        let time = |text: String| {
            text.parse().map_err(|_| format!("expires: {text:?} is not a time like 2027-01-31T00:00:00Z"))
        };
        let expires = entry.expires.map(time).transpose()?;
        self.tokens.insert(sha256.to_ascii_lowercase(), Token { name: name.to_owned(), role, expires });
        Ok(())
    }

    /// The tokens, in the order of their names.
    #[must_use]
    pub fn tokens(&self) -> Vec<&Token> {
        let mut tokens: Vec<_> = self.tokens.values().collect();
        tokens.sort_by(|a, b| a.name.cmp(&b.name));
        tokens
    }

    /// The token of this text. Who guesses learns nothing from how long it takes: what is looked up is a hash.
    #[must_use]
    pub fn token(&self, text: &str) -> Option<&Token> {
        text.starts_with(TOKEN_MARK).then(|| self.tokens.get(&sha256(text)))?
    }
}

/// A role by its name.
///
/// # Errors
/// There is no such role, or it does not go with these prefixes.
pub fn role(name: &str, prefixes: Vec<String>) -> Result<Role, String> {
    if let Some(wrong) = prefixes.iter().find(|prefix| !is_prefix(prefix)) {
        return Err(format!("{wrong:?} is neither an app id nor a group like \"/team-a/**\""));
    }
    match (name, prefixes.is_empty()) {
        ("viewer", true) => Ok(Role::Viewer),
        ("admin", true) => Ok(Role::Admin),
        ("editor", false) => Ok(Role::Editor { prefixes }),
        ("editor", true) => Err("an editor needs prefixes, as in \"/team-a/**\"".to_owned()),
        ("viewer" | "admin", false) => Err(format!("prefixes are of editors, not of the role {name}")),
        _ => Err(format!("{name:?} is not a role; expected viewer, editor or admin")),
    }
}

fn is_prefix(prefix: &str) -> bool {
    let id = prefix.strip_suffix("/**").unwrap_or(prefix);
    let known = |c: char| !c.is_control() && !c.is_whitespace() && c != '*';
    (prefix == "/**" || (id.starts_with('/') && id.len() > 1 && !id.ends_with('/'))) && id.chars().all(known)
}

/// Whether this can be the name of a user or a token: nothing that would mean something else in a header, a log or a file.
///
/// # Errors
/// Why it cannot.
pub fn check_name(name: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-@+".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(known) {
        return Err(format!("a name has 1 to {NAME_MAX} letters, digits and ._-@+"));
    }
    Ok(())
}

fn check_hash(hash: &str) -> Result<(), String> {
    match PasswordHash::new(hash) {
        Ok(hash) if hash.algorithm.as_str() == "argon2id" && hash.hash.is_some() => Ok(()),
        _ => Err("password is not a hash by argon2id; set it with `causeway user password NAME`".to_owned()),
    }
}

/// The SHA-256 of a text, as hexadecimal digits.
pub(super) fn sha256(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 256 bits that nobody guesses, as text.
pub(super) fn random() -> Result<String, String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Reads the users file; one that does not exist holds nobody.
///
/// # Errors
/// It cannot be read, or is not one of users and tokens.
pub(super) fn read(path: &Path) -> Result<Users, String> {
    let named = |error: String| format!("users file {}: {error}", path.display());
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Users::default()),
        text => text.map_err(|error| named(error.to_string()))?,
    };
    Users::parse(&text).map_err(named)
}

#[cfg(test)]
mod tests;
