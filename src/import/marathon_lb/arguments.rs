//! marathon-lb's command line (1.15), and that of the `run` script in its image.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// How the `run` script is to start marathon-lb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    Sse,
    Poll,
}

/// The arguments, under their own names. Where one is given twice the last counts, as with Python's argparse.
#[derive(Debug, Parser)]
#[command(
    name = "marathon_lb.py",
    no_binary_name = true,
    infer_long_args = true,
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true
)]
pub(super) struct Arguments {
    pub(super) mode: Option<Mode>,
    #[arg(long, short, num_args = 1.., action = clap::ArgAction::Set)]
    pub(super) marathon: Option<Vec<String>>,
    #[arg(long)]
    pub(super) haproxy_config: Option<PathBuf>,
    #[arg(long, action = clap::ArgAction::Append)]
    pub(super) group: Vec<String>,
    #[arg(long, short)]
    pub(super) command: Option<String>,
    #[arg(long, allow_negative_numbers = true)]
    pub(super) max_reload_retries: Option<i64>,
    #[arg(long, allow_negative_numbers = true)]
    pub(super) reload_interval: Option<i64>,
    #[arg(long)]
    pub(super) strict_mode: bool,
    #[arg(long, short)]
    pub(super) sse: bool,
    #[arg(long, allow_negative_numbers = true)]
    pub(super) archive_versions: Option<i64>,
    #[arg(long, short = 'H')]
    pub(super) health_check: bool,
    #[arg(long)]
    pub(super) lru_cache_capacity: Option<i64>,
    #[arg(long)]
    pub(super) haproxy_map: bool,
    #[arg(long)]
    pub(super) dont_bind_http_https: bool,
    #[arg(long)]
    pub(super) group_https_by_vhost: bool,
    #[arg(long)]
    pub(super) ssl_certs: Option<String>,
    #[arg(long)]
    pub(super) skip_validation: bool,
    #[arg(long)]
    pub(super) skip_config_cleanup: bool,
    #[arg(long, short)]
    pub(super) dry: bool,
    #[arg(long)]
    pub(super) min_serv_port_ip_per_task: Option<u16>,
    #[arg(long)]
    pub(super) max_serv_port_ip_per_task: Option<u16>,
    #[arg(long)]
    pub(super) max_backoff: Option<u64>,
    #[arg(long)]
    pub(super) syslog_socket: Option<String>,
    #[arg(long)]
    pub(super) log_format: Option<String>,
    #[arg(long)]
    pub(super) log_level: Option<String>,
    #[arg(long)]
    pub(super) marathon_auth_credential_file: Option<PathBuf>,
    #[arg(long)]
    pub(super) auth_credentials: Option<String>,
    #[arg(long)]
    pub(super) dcos_auth_credentials: Option<String>,
    #[arg(long)]
    pub(super) marathon_ca_cert: Option<PathBuf>,
    /// Of releases before 1.12: Marathon called back.
    #[arg(long, short)]
    pub(super) listening: Option<String>,
    #[arg(long, short = 'u')]
    pub(super) callback_url: Option<String>,
}

impl Arguments {
    /// Parses the arguments; words before them that only start the program (`python3 marathon_lb.py`, `/marathon-lb/run`)
    /// do not count.
    pub(super) fn parse_words(words: &[String]) -> Result<Self, clap::Error> {
        let before = |word: &&String| !word.starts_with('-') && *word != "sse" && *word != "poll";
        let starts =
            |word: &String| word.ends_with("marathon_lb.py") || word == "run" || word.ends_with("/run");
        let begin = words.iter().take_while(before).position(starts).map_or(0, |at| at + 1);
        Self::try_parse_from(&words[begin..])
    }
}
