//! `causeway user` and `causeway token`: who may log in.

use std::io::{BufRead, IsTerminal, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use jiff::{Span, Timestamp, Zoned};

use super::ConfigArgs;
use super::commands::{print, read};
use crate::config::Config;
use crate::web::Role;
use crate::web::doors::AuditLog;
use crate::web::doors::users::{UsersFile, role};

/// What can be done with users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user. The password is asked for, or read from standard input: one line.
    Add(AddUserArgs),
    /// List the users.
    List(ConfigArgs),
    /// Remove a user, which ends his sessions.
    Remove(NameArgs),
    /// Give a user another password, which ends his sessions. It is asked for, or read from standard input: one line.
    Password(NameArgs),
}

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token for a script, and print it: it is kept nowhere and never shown again.
    Add(AddTokenArgs),
    /// List the tokens.
    List(ConfigArgs),
    /// Remove a token, which is worth nothing at once.
    Remove(NameArgs),
}

/// A user or a token.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// The name.
    pub name: String,
    /// The configuration, which says where the users file is.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// What somebody may do.
#[derive(Debug, Args)]
pub struct RoleArgs {
    /// viewer (sees everything), editor (edits typed rules of the apps below his prefixes) or admin.
    #[arg(long, default_value = "viewer")]
    pub role: String,
    /// What an editor may edit: an app id, or a group like `/team-a/**`; may be given more than once.
    #[arg(long = "prefix", value_name = "PREFIX")]
    pub prefixes: Vec<String>,
}

impl RoleArgs {
    fn role(&self) -> Result<Role> {
        role(&self.role, self.prefixes.clone()).map_err(anyhow::Error::msg)
    }
}

/// A user to be added.
#[derive(Debug, Args)]
pub struct AddUserArgs {
    /// The user.
    #[command(flatten)]
    pub named: NameArgs,
    /// What he may do.
    #[command(flatten)]
    pub role: RoleArgs,
    /// Without a password: he comes by a proxy that knows him (`web.trusted_header`).
    #[arg(long)]
    pub no_password: bool,
}

/// A token to be made.
#[derive(Debug, Args)]
pub struct AddTokenArgs {
    /// The token.
    #[command(flatten)]
    pub named: NameArgs,
    /// What its bearer may do.
    #[command(flatten)]
    pub role: RoleArgs,
    /// How long it is worth something, as in 90d, 12h or 1y; or never, for one that does not expire.
    #[arg(long, default_value = "1y")]
    pub expires: String,
}

/// Does what is to be done with users.
///
/// # Errors
/// What a person has to read.
pub fn user(command: &UserCommand) -> Result<()> {
    match command {
        UserCommand::Add(args) => {
            let (name, role) = (&args.named.name, args.role.role()?);
            let users = users(&args.named.config)?;
            ensure!(!users.read()?.users.contains_key(name), "user {name} exists already; remove it first");
            let password = if args.no_password { None } else { Some(ask_for_password(name)?) };
            users.add_user(name, &role, password.as_deref())?;
            written_down(&args.named.config, "user add", &format!("{name}, {}", words(&role)))?;
            print(&format!("user {name} is added, and may log in at once\n"))
        }
        UserCommand::List(config) => {
            let read = users(config)?.read()?;
            for (name, user) in &read.users {
                let how = if user.password.is_some() { "" } else { " (by a proxy only)" };
                print(&format!("{name}\t{}{how}\n", words(&user.role)))?;
            }
            tell_mistakes(&read.mistakes)
        }
        UserCommand::Remove(args) => {
            users(&args.config)?.remove_user(&args.name)?;
            written_down(&args.config, "user remove", &args.name)?;
            print(&format!("user {} is removed, and his sessions have ended\n", args.name))
        }
        UserCommand::Password(args) => {
            let users = users(&args.config)?;
            ensure!(users.read()?.users.contains_key(&args.name), "there is no user {}", args.name);
            users.set_password(&args.name, &ask_for_password(&args.name)?)?;
            written_down(&args.config, "user password", &args.name)?;
            print(&format!("user {} has another password, and his sessions have ended\n", args.name))
        }
    }
}

/// Does what is to be done with tokens.
///
/// # Errors
/// What a person has to read.
pub fn token(command: &TokenCommand) -> Result<()> {
    match command {
        TokenCommand::Add(args) => {
            let (name, role) = (&args.named.name, args.role.role()?);
            let expires = expiry(&args.expires)?;
            let text = users(&args.named.config)?.add_token(name, &role, expires)?;
            let until = expires.map_or("it is removed".to_owned(), |expires| expires.to_string());
            let about = format!("{name}, {}, until {until}", words(&role));
            written_down(&args.named.config, "token add", &about)?;
            tell(&format!("token {name} is good until {until}; it is not shown again:\n"));
            print(&format!("{text}\n"))
        }
        TokenCommand::List(config) => {
            let read = users(config)?.read()?;
            for token in read.tokens() {
                let until = match token.expires {
                    Some(expires) if expires <= Timestamp::now() => format!("expired {expires}"),
                    Some(expires) => format!("until {expires}"),
                    None => "does not expire".to_owned(),
                };
                print(&format!("{}\t{}\t{until}\n", token.name, words(&token.role)))?;
            }
            tell_mistakes(&read.mistakes)
        }
        TokenCommand::Remove(args) => {
            users(&args.config)?.remove_token(&args.name)?;
            written_down(&args.config, "token remove", &args.name)?;
            print(&format!("token {} is removed\n", args.name))
        }
    }
}

fn users(args: &ConfigArgs) -> Result<UsersFile> {
    let config: Config = read(args)?;
    Ok(UsersFile::new(&config.users_file()))
}

/// Puts what was changed into the audit log. It is changed by then: a log that cannot be written does not make it a failure.
fn written_down(args: &ConfigArgs, command: &str, about: &str) -> Result<()> {
    let config: Config = read(args)?;
    let log = AuditLog::of(&config.haproxy.state_dir);
    if let Err(error) = log.record_command(command, &config.users_file(), about) {
        tell(&format!("it is done, and is not in the audit log, which cannot be written: {error}\n"));
    }
    Ok(())
}

fn words(role: &Role) -> String {
    match role {
        Role::Viewer => "viewer".to_owned(),
        Role::Editor { prefixes } => format!("editor of {}", prefixes.join(", ")),
        Role::Admin => "admin".to_owned(),
    }
}

fn tell(text: &str) {
    let _closed = std::io::stderr().write_all(text.as_bytes());
}

fn tell_mistakes(mistakes: &[String]) -> Result<()> {
    ensure!(mistakes.is_empty(), "what cannot be used counts for nothing:\n  {}", mistakes.join("\n  "));
    Ok(())
}

/// A password of somebody who types it twice and does not see it, or the first line of standard input.
fn ask_for_password(name: &str) -> Result<String> {
    if std::io::stdin().is_terminal() {
        let password = rpassword::prompt_password(format!("Password of {name}: "))?;
        if rpassword::prompt_password("Once more: ")? != password {
            bail!("these are two different passwords; nothing is changed");
        }
        return Ok(password);
    }
    let mut line = String::new();
    std::io::stdin().lock().take(64 * 1024).read_line(&mut line).context("the password on standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn expiry(text: &str) -> Result<Option<Timestamp>> {
    if text == "never" {
        return Ok(None);
    }
    let wrong = || format!("--expires: {text:?} is not a time like 90d, 12h or 1y, nor never");
    let span: Span = text.parse().with_context(wrong)?;
    ensure!(span.is_positive(), wrong());
    Ok(Some(Zoned::now().checked_add(span).with_context(wrong)?.timestamp()))
}
