//! `causeway rules …`: reads and writes rules through the API of a Causeway that runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::ConfigArgs;
use super::commands::print;
use crate::config::Config;
use crate::model::{AppId, Rule, RuleRoute};
use crate::rules::read;
use crate::web::rules::Shown;

mod api;
mod show;

use api::{Api, Refused};

/// Which Causeway, and what to do there.
#[derive(Clone, Debug, Args)]
pub struct RulesArgs {
    /// The configuration, which says where the Causeway of this host has its socket.
    #[command(flatten)]
    config: ConfigArgs,
    /// The Unix socket of the Causeway, instead of what the configuration says.
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "url")]
    socket: Option<PathBuf>,
    /// The address of a Causeway, as in https://node-1:9089, instead of the socket of this host.
    #[arg(long, global = true)]
    url: Option<String>,
    /// The file that holds the token for `--url`; without it CAUSEWAY_TOKEN holds the token itself.
    #[arg(long, global = true, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// The authorities that sign the certificate of `--url`, PEM; without it those of the system.
    #[arg(long, global = true, value_name = "FILE", requires = "url")]
    ca_file: Option<PathBuf>,
    /// Print JSON instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    /// What to do.
    #[command(subcommand)]
    command: RulesCommand,
}

/// What can be done with rules.
#[derive(Clone, Debug, Subcommand)]
enum RulesCommand {
    /// Show all rules, a line each.
    List,
    /// Show the rule of an app.
    Get {
        /// The app, or a group pattern (/team/**).
        app: String,
    },
    /// Create the rule of an app, or replace it whole. Nobody else's change is undone unseen.
    Set(SetArgs),
    /// Take away the rule of an app.
    Rm {
        /// The app, or a group pattern.
        app: String,
        /// How it is written.
        #[command(flatten)]
        how: WriteArgs,
    },
    /// Create or replace the rules of a file: a rules file, JSON of `export --json`, or Bamboo's /api/services.
    Import {
        /// The file; `-` for standard input.
        file: PathBuf,
        /// How they are written.
        #[command(flatten)]
        how: WriteArgs,
    },
    /// Print all rules as a rules file; with --json as JSON.
    Export,
}

/// How something is written.
#[derive(Clone, Debug, Args)]
struct WriteArgs {
    /// Only say what would come: the difference, the steps, HAProxy's verdict.
    #[arg(long)]
    dry_run: bool,
    /// Why, for whoever looks at the rule later.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

/// A rule on the command line.
#[derive(Clone, Debug, Args)]
struct SetArgs {
    /// The app, or a group pattern (/team/**).
    app: String,
    /// A file with the rule, as a rules file or as JSON; `-` for standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["host", "path", "acl", "port", "order", "replace", "disabled", "set_config"])]
    file: Option<PathBuf>,
    /// The host, or *.parent.
    #[arg(long)]
    host: Option<String>,
    /// The path prefix.
    #[arg(long)]
    path: Option<String>,
    /// The criterion of an HAProxy ACL; && joins forms that are understood.
    #[arg(long, conflicts_with_all = ["host", "path"])]
    acl: Option<String>,
    /// The index of the app's port.
    #[arg(long, default_value_t = 0)]
    port: usize,
    /// Looked up before rules without an order, ascending.
    #[arg(long, allow_negative_numbers = true)]
    order: Option<i64>,
    /// Drop the routes of the app's labels.
    #[arg(long)]
    replace: bool,
    /// As if the rule were not there.
    #[arg(long)]
    disabled: bool,
    /// A free key for templates, KEY=VALUE; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set_config: Vec<String>,
    /// The version that was seen; without it the rule may be whatever it is now.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<String>,
    /// How it is written.
    #[command(flatten)]
    how: WriteArgs,
}

/// Runs a command.
///
/// # Errors
/// What a person has to read: the API's own words where it refuses.
pub async fn run(args: RulesArgs) -> Result<()> {
    let api = match &args.url {
        Some(url) => Api::at(url, args.token_file.as_deref(), args.ca_file.as_deref())?,
        None => Api::on(&socket(&args)?)?,
    };
    match &args.command {
        RulesCommand::List => {
            let answer = api.get("/api/v2/rules").await?;
            print(&if args.json { show::json(&answer) } else { show::list(&rules_of(&answer)?) })?;
            for problem in answer["problems"].as_array().into_iter().flatten() {
                let text = |key: &str| problem[key].as_str().unwrap_or_default();
                eprintln!("problem: {} {} ({})", text("app"), text("message"), text("advice"));
            }
            Ok(())
        }
        RulesCommand::Get { app } => {
            let answer = api.get(&api::path_of(&AppId::new(app))).await?;
            print(&if args.json { show::json(&answer) } else { show::toml(&[shown(&answer)?])? })
        }
        RulesCommand::Export => {
            let answer = api.get("/api/v2/rules").await?;
            let rules = rules_of(&answer)?;
            print(&if args.json { show::json(&json!({ "rules": rules })) } else { show::toml(&rules)? })
        }
        RulesCommand::Set(set) => {
            let rule = rule_of(set)?;
            let path = api::path_of(&rule.app);
            let mut body = json!(Shown::from(&rule));
            body["why"] = json!(set.how.why.clone().unwrap_or_default());
            let version = match &set.if_version {
                Some(version) => Some(version.clone()),
                None => api.version(&path).await?,
            };
            let answer = api.write(&Method::PUT, &path, Some(&body), version.as_deref(), &set.how).await?;
            tell(&args, &answer, set.how.dry_run, &format!("{}: {}", rule.app, api::done(&version)))
        }
        RulesCommand::Rm { app, how } => {
            let path = api::path_of(&AppId::new(app));
            let version = api.version(&path).await?;
            let Some(version) = version else { bail!("there is no rule for {app}") };
            let answer = api.write(&Method::DELETE, &path, None, Some(&version), how).await?;
            tell(&args, &answer, how.dry_run, &format!("{app}: taken away"))
        }
        RulesCommand::Import { file, how } => import(&args, &api, read::rules(file)?, how).await,
    }
}

fn tell(args: &RulesArgs, answer: &Value, dry_run: bool, done: &str) -> Result<()> {
    match (args.json, dry_run) {
        (true, _) => print(&show::json(answer)),
        (false, true) => print(&show::forecast(answer)),
        (false, false) => print(&format!("{done}\n")),
    }
}

/// Several rules: in one dry run, or one after the other, those that are as they should be left alone.
async fn import(args: &RulesArgs, api: &Api, rules: Vec<Rule>, how: &WriteArgs) -> Result<()> {
    if how.dry_run {
        let rules: Vec<Shown> = rules.iter().map(Shown::from).collect();
        let body = json!({ "rules": rules });
        let answer = api.write(&Method::POST, "/api/v2/rules", Some(&body), None, how).await?;
        return tell(args, &answer, true, "");
    }
    let answer = api.get("/api/v2/rules").await?;
    let there: BTreeMap<AppId, Shown> =
        rules_of(&answer)?.into_iter().map(|rule| (rule.app.clone(), rule)).collect();
    let (mut outcomes, mut failed) = (Vec::new(), 0);
    for rule in rules {
        let current = there.get(&rule.app);
        let same = |current: &Shown| Rule { changed: None, ..Rule::from(current.clone()) } == rule;
        let outcome = if current.is_some_and(same) {
            "unchanged".to_owned()
        } else {
            let mut body = json!(Shown::from(&rule));
            body["why"] = json!(how.why.clone().unwrap_or_else(|| "imported".to_owned()));
            let version = current.map(|current| current.version.clone());
            let path = api::path_of(&rule.app);
            match api.write(&Method::PUT, &path, Some(&body), version.as_deref(), how).await {
                Ok(_) => api::done(&version).to_owned(),
                // Others may be as they should be all the same.
                Err(error) if error.is::<Refused>() => {
                    failed += 1;
                    format!("refused: {error}")
                }
                Err(error) => return Err(error),
            }
        };
        if !args.json {
            print(&format!("{}: {outcome}\n", rule.app))?;
        }
        outcomes.push(json!({ "app": rule.app, "outcome": outcome }));
    }
    if args.json {
        print(&show::json(&json!({ "rules": outcomes })))?;
    }
    if failed > 0 {
        bail!("{failed} of {} rules were refused; the others are as the file says", outcomes.len());
    }
    Ok(())
}

fn socket(args: &RulesArgs) -> Result<PathBuf> {
    match &args.socket {
        Some(socket) => Ok(socket.clone()),
        None => Ok(Config::load(args.config.config.as_deref())?.web_socket()),
    }
}

fn rule_of(set: &SetArgs) -> Result<Rule> {
    let app = AppId::new(&set.app);
    if let Some(file) = &set.file {
        let mut rules = read::rules(file)?;
        let found = rules.iter().position(|rule| rule.app == app);
        return match found {
            Some(index) => Ok(rules.swap_remove(index)),
            None => bail!("{} has no rule for {app}", file.display()),
        };
    }
    let mut rule = Rule { enabled: !set.disabled, order: set.order, replace: set.replace, ..Rule::new(app) };
    for pair in &set.set_config {
        let (key, value) =
            pair.split_once('=').with_context(|| format!("--set {pair:?}: expected KEY=VALUE"))?;
        rule.config.insert(key.to_owned(), value.to_owned());
    }
    if set.host.is_some() || set.path.is_some() || set.acl.is_some() {
        let (host, path, acl) = (set.host.clone(), set.path.clone(), set.acl.clone());
        rule.routes.push(RuleRoute { host, path, acl, port: set.port, ..RuleRoute::default() });
    }
    Ok(rule)
}

fn shown(answer: &Value) -> Result<Shown> {
    serde_json::from_value(answer.clone()).context("the answer is not a rule; is the other side a Causeway?")
}

fn rules_of(answer: &Value) -> Result<Vec<Shown>> {
    let rules =
        answer["rules"].as_array().context("the answer holds no rules; is the other side a Causeway?")?;
    rules.iter().map(shown).collect()
}
