//! The gateway's process: arguments, configuration, logs, signals. Everything else is in the library.

mod cli;

use std::pin::pin;
use std::process::ExitCode;

use clap::Parser;
use futures::future::{Either, select};
use tokio::runtime::{Builder, Runtime};
use ws_gateway::Gateway;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let config = match arguments.config() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("ws-gateway: {error:#}");
            // The user's error, as opposed to the program's (1).
            return ExitCode::from(2);
        }
    };
    if arguments.check_config {
        println!("the configuration is sound");
        return ExitCode::SUCCESS;
    }
    cli::start_logs(&config.log);
    let runtime = match runtime(config.workers) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ws-gateway: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %format!("{error:#}"), "cannot start");
            ExitCode::FAILURE
        }
    }
}

/// With one thread nothing is handed over to another: no queue is shared, no wake-up crosses.
fn runtime(workers: usize) -> std::io::Result<Runtime> {
    let mut builder = match workers {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if workers > 1 {
        builder.worker_threads(workers);
    }
    builder.enable_all().build()
}

async fn run(config: ws_gateway::Config) -> anyhow::Result<()> {
    // Before anything is opened: a signal from now on drains, whenever it comes.
    let mut stop = pin!(cli::stop_signal()?);
    let bus = config.bus.clone();
    let kind = bus.kind;
    let start = pin!(Gateway::start(config, async |sink| ws_gateway::serve::open_bus(&bus, sink).await));
    let gateway = match select(start, stop.as_mut()).await {
        Either::Left((gateway, _)) => gateway?,
        Either::Right(_) => {
            tracing::info!("stopped before it had started");
            return Ok(());
        }
    };
    tracing::info!(
        public = %gateway.public_address()?,
        private = %gateway.private_address()?,
        bus = ?kind,
        "listening"
    );
    gateway.run(stop).await;
    Ok(())
}
