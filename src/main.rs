//! The `causeway` binary: parses the command line, runs the command, tells the exit code.

use std::process::ExitCode;

use causeway::cli::{Cli, commands};
use clap::Parser;

/// A large cluster is read, rendered and thrown away in pieces: what is free goes back to the system, which glibc's own does
/// not do for small pieces.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let result = runtime.block_on(commands::run(cli.command));
    // A look-up of a name or a read that hangs does not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    use std::io::Write as _;
    let _closed = writeln!(std::io::stderr(), "causeway: {error:#}");
    ExitCode::FAILURE
}
