//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub mod commands;
pub mod import;
pub mod rules;
pub mod users;

/// Takes HAProxy to where the apps are: follows Marathon, merges labels and rules, renders, checks, reloads, with no
/// request lost.
///
/// Every key of the configuration is also an environment variable: `marathon.endpoints` is
/// `CAUSEWAY_MARATHON__ENDPOINTS`.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Follow Marathon and keep HAProxy up to date, until stopped. HAProxy goes on serving afterwards
    /// (`haproxy.on_exit`). SIGUSR1 applies a full read that is held for taking away too much.
    Run(ConfigArgs),
    /// Print the HAProxy configuration that the apps come to, and change nothing.
    Render(RenderArgs),
    /// Say everything that is wrong with the configuration, the templates and the rules.
    Check(ConfigArgs),
    /// Show what `run` would change: the difference, and the steps it would take.
    Plan(AppsArgs),
    /// Turn the configuration of marathon-lb or Bamboo into one of Causeway's, and tell what has no counterpart.
    Import(import::ImportArgs),
    /// Read and write rules, through the API of a Causeway that runs.
    Rules(Box<rules::RulesArgs>),
    /// Say who may log in to Causeway.
    #[command(subcommand)]
    User(users::UserCommand),
    /// Make tokens, with which scripts log in to Causeway.
    #[command(subcommand)]
    Token(users::TokenCommand),
    /// Run a stand-in Marathon, with tasks that are real listening servers: to try labels without a cluster.
    Marathon(MarathonArgs),
    /// Show the main job live: a stand-in Marathon, demo apps, a real HAProxy, on high ports of loopback.
    Demo(DemoArgs),
}

/// Which configuration.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file; without it the defaults and the environment count.
    #[arg(long, short, env = "CAUSEWAY_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Where the apps come from.
#[derive(Clone, Debug, Args)]
pub struct AppsArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Take the apps from a file of Marathon's JSON (`GET /v2/apps?embed=apps.tasks`) instead of Marathon.
    #[arg(long, value_name = "FILE")]
    pub apps: Option<PathBuf>,
}

/// What to render.
#[derive(Clone, Debug, Args)]
pub struct RenderArgs {
    /// The apps.
    #[command(flatten)]
    pub apps: AppsArgs,
    /// Print the map files too, each under a comment with its name.
    #[arg(long)]
    pub maps: bool,
}

/// How the stand-in Marathon runs.
#[derive(Clone, Debug, Args)]
pub struct MarathonArgs {
    /// The port of its API, on loopback.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Whose JSON and events it speaks: 0.11, 1.4, 1.8 or 1.11.
    #[arg(long, default_value = "1.11")]
    pub profile: crate::demo::marathon::Profile,
    /// A file with apps to begin with, as one posts them: an app or a list.
    #[arg(long, value_name = "FILE")]
    pub apps: Option<PathBuf>,
    /// The first port of the tasks; each task has an address 127.x.y.z of its own.
    #[arg(long, default_value_t = 31000)]
    pub first_task_port: u16,
}

/// Where the demo listens.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// The port of the stand-in Marathon.
    #[arg(long, default_value_t = 8080)]
    pub marathon_port: u16,
    /// The port of HAProxy's HTTP frontend.
    #[arg(long, default_value_t = 8000)]
    pub http_port: u16,
    /// Show it once by itself, and end: for those who only watch.
    #[arg(long)]
    pub once: bool,
}
