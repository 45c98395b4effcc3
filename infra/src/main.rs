//! The program: arguments in, exit status out.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use infra::cli::Cli;
use infra::command;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers; everything else is an error. A reader that has gone away is neither.
            let status = if error.use_stderr() { 1 } else { 0 };
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    infra::logs::start(cli.global.verbose, infra::output::Output::new(&cli.global).error_style().color);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: the asynchronous runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(Box::pin(command::run(&cli)));
    let _ = std::io::stdout().flush();
    match exit {
        Ok(exit) => ExitCode::from(exit.status()),
        Err(error) => {
            command::tell(&cli, &error);
            ExitCode::from(command::status(&error).status())
        }
    }
}
