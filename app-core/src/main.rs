//! Core's process: arguments, configuration, logs, signals. Everything else is in the library.

mod cli;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let config = match arguments.config() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("app-core: {error:#}");
            // The user's error, as opposed to the program's (1).
            return ExitCode::from(2);
        }
    };
    if arguments.check_config {
        println!("the configuration is sound");
        return ExitCode::SUCCESS;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("app-core: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli::run(arguments, config)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("app-core: {error:#}");
            ExitCode::FAILURE
        }
    }
}
