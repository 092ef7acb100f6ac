//! Changing the users file: by `causeway user` and `causeway token`, beside what a person wrote in it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use toml_edit::{Array, DocumentMut, Item, Table, value};

use super::{Role, TOKEN_MARK, Users, check_name, random, sha256};
use crate::durable::{FileError, dir_of, give_to_owner_of_dir, make_private_dir, replace_file};
use crate::web::doors::passwords;

const HEADER: &str = "# Who may log in to Causeway. `causeway user` and `causeway token` write this file; Causeway reads it whenever it changes.\n";

/// The users file, to be changed.
#[derive(Clone, Debug)]
pub struct UsersFile {
    path: PathBuf,
}

/// Why the users file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not one of users and tokens.
    #[error("users file {path}: {message}; correct it by hand")]
    Syntax {
        /// The file.
        path: String,
        /// Why.
        message: String,
    },
    /// What is to be written would not be understood.
    #[error("{0}")]
    Refused(String),
    /// There is one of this name already.
    #[error("{0} exists already; remove it first")]
    Exists(String),
    /// There is none of this name.
    #[error("there is no {0}")]
    Missing(String),
}

impl UsersFile {
    /// The file at `path`; it need not exist.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Who is in it.
    ///
    /// # Errors
    /// It cannot be read, or is not one of users and tokens.
    pub fn read(&self) -> Result<Users, UsersError> {
        Users::parse(&self.text()?).map_err(|message| self.syntax(message))
    }

    /// Adds a user; without a password he comes by a trusted proxy only.
    ///
    /// # Errors
    /// The name or the password cannot be one, the name is taken, or the file cannot be written.
    pub fn add_user(&self, name: &str, role: &Role, password: Option<&str>) -> Result<(), UsersError> {
        let hash = password.map(passwords::hash).transpose().map_err(UsersError::Refused)?;
        let mut table = entry(role);
        if let Some(hash) = hash {
            table.insert("password", value(hash));
        }
        self.add("users", name, table)
    }

    /// Gives a user another password, which ends his sessions.
    ///
    /// # Errors
    /// The password cannot be one, there is no such user, or the file cannot be written.
    pub fn set_password(&self, name: &str, password: &str) -> Result<(), UsersError> {
        let hash = passwords::hash(password).map_err(UsersError::Refused)?;
        self.edit(|document| {
            let users = document.get_mut("users").and_then(Item::as_table_like_mut);
            let user = users.and_then(|users| users.get_mut(name)?.as_table_like_mut());
            let user = user.ok_or_else(|| UsersError::Missing(named("users", name)))?;
            user.insert("password", value(hash));
            Ok(())
        })
    }

    /// Removes a user, and with him his sessions.
    ///
    /// # Errors
    /// There is no such user, or the file cannot be written.
    pub fn remove_user(&self, name: &str) -> Result<(), UsersError> {
        self.remove("users", name)
    }

    /// Makes a token and gives its text, which is kept nowhere.
    ///
    /// # Errors
    /// The name cannot be one or is taken, or the file cannot be written.
    pub fn add_token(
        &self,
        name: &str,
        role: &Role,
        expires: Option<Timestamp>,
    ) -> Result<String, UsersError> {
        let text = format!("{TOKEN_MARK}{}", random().map_err(UsersError::Refused)?);
        let mut table = entry(role);
        table.insert("sha256", value(sha256(&text)));
        if let Some(expires) = expires {
            table.insert("expires", value(expires.to_string()));
        }
        self.add("tokens", name, table)?;
        Ok(text)
    }

    /// Removes a token.
    ///
    /// # Errors
    /// There is no such token, or the file cannot be written.
    pub fn remove_token(&self, name: &str) -> Result<(), UsersError> {
        self.remove("tokens", name)
    }

    fn add(&self, kind: &str, name: &str, table: Table) -> Result<(), UsersError> {
        check_name(name).map_err(UsersError::Refused)?;
        self.edit(|document| {
            let entries = document.entry(kind).or_insert_with(|| {
                let mut table = Table::new();
                table.set_implicit(true);
                Item::Table(table)
            });
            if entries.get(name).is_some() {
                return Err(UsersError::Exists(named(kind, name)));
            }
            entries[name] = Item::Table(table);
            Ok(())
        })
    }

    fn remove(&self, kind: &str, name: &str) -> Result<(), UsersError> {
        self.edit(|document| {
            let entries = document.get_mut(kind).and_then(Item::as_table_like_mut);
            let removed = entries.and_then(|entries| entries.remove(name));
            removed.map(drop).ok_or_else(|| UsersError::Missing(named(kind, name)))
        })
    }

    fn text(&self) -> Result<String, UsersError> {
        match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HEADER.to_owned()),
            text => Ok(text.map_err(FileError::of(&self.path))?),
        }
    }

    fn syntax(&self, message: String) -> UsersError {
        UsersError::Syntax { path: self.path.display().to_string(), message }
    }

    /// Reads, edits and replaces the file, one at a time.
    fn edit(&self, edit: impl FnOnce(&mut DocumentMut) -> Result<(), UsersError>) -> Result<(), UsersError> {
        let dir = dir_of(&self.path);
        make_private_dir(dir)?;
        let of_dir = File::open(dir).map_err(FileError::of(dir))?;
        of_dir.lock().map_err(FileError::of(dir))?;
        let text = self.text()?;
        let mut document: DocumentMut = text
            .parse()
            .map_err(|error: toml_edit::TomlError| self.syntax(error.message().trim().replace('\n', "; ")))?;
        edit(&mut document)?;
        let text = document.to_string();
        // What we write is read back before it counts.
        Users::parse(&text).map_err(|message| self.syntax(message))?;
        replace_file(&self.path, text.as_bytes(), 0o600)?;
        Ok(give_to_owner_of_dir(&self.path)?)
    }
}

fn named(kind: &str, name: &str) -> String {
    format!("{} {name}", kind.trim_end_matches('s'))
}

fn entry(role: &Role) -> Table {
    let mut table = Table::new();
    let (name, prefixes) = match role {
        Role::Viewer => ("viewer", None),
        Role::Editor { prefixes } => ("editor", Some(prefixes)),
        Role::Admin => ("admin", None),
    };
    table.insert("role", value(name));
    if let Some(prefixes) = prefixes {
        table.insert("prefixes", value(prefixes.iter().collect::<Array>()));
    }
    table
}
