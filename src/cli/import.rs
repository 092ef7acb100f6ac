//! `causeway import`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::config::Config;
use crate::durable::replace_file;
use crate::import::{Imported, bamboo, marathon_lb, one_line};

/// What is imported, and where it goes.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// The file to write, which must not be there yet; secrets go into files beside it, for nobody else to read. Without
    /// it the configuration is printed, without secrets.
    #[arg(long, short, value_name = "FILE", global = true)]
    pub output: Option<PathBuf>,
    /// Whose configuration.
    #[command(subcommand)]
    pub from: ImportFrom,
}

/// Whose configuration is imported. The environment that the other tool would see counts too.
#[derive(Clone, Debug, Subcommand)]
pub enum ImportFrom {
    /// marathon-lb's command line: `causeway import marathon-lb -- sse -m http://marathon:8080 --group external`.
    MarathonLb {
        /// Its arguments, or those of its image.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Bamboo's JSON file.
    Bamboo {
        /// The file.
        file: PathBuf,
    },
}

/// Prints or writes the configuration, and reports on standard error what is different.
///
/// # Errors
/// It cannot be read or written; what has no counterpart is no error.
pub fn run(args: &ImportArgs) -> Result<()> {
    let text = |(name, value): (_, std::ffi::OsString)| {
        let name: std::ffi::OsString = name;
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let environment = std::env::vars_os().filter_map(text);
    let imported = match &args.from {
        ImportFrom::MarathonLb { arguments } => marathon_lb::import(arguments, environment)?,
        ImportFrom::Bamboo { file } => {
            let json = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            bamboo::import(&json, environment).with_context(|| file.display().to_string())?
        }
    };
    write(imported, args.output.as_deref())
}

fn write(mut imported: Imported, output: Option<&Path>) -> Result<()> {
    let dir = match output {
        Some(file) if file.exists() => {
            bail!("{} is there already; choose another, or move it away", file.display())
        }
        Some(file) => {
            let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            // The configuration may be used from anywhere.
            Some(dir.canonicalize().with_context(|| dir.display().to_string())?)
        }
        None => None,
    };
    imported.place_secrets(dir.as_deref())?;
    let text = imported.to_toml();
    match output {
        Some(file) => replace_file(file, text.as_bytes(), 0o644)?,
        None => super::commands::print(&text)?,
    }
    let mut report = std::io::stderr();
    for note in imported.notes() {
        let _closed = writeln!(report, "note: {}", one_line(note));
    }
    // Files that it names may be on another machine.
    if let Err(error) = Config::from_text(&text, Vec::new()) {
        let _closed = writeln!(report, "note: on this machine {error}");
    }
    Ok(())
}
