//! What `-v` tells, on standard error. Only names of calls, never their contents: contents may hold secrets.

use tracing_subscriber::EnvFilter;

pub fn start(verbose: u8, color: bool) {
    let filter = match verbose {
        0 => "error",
        1 => "infra=debug,infra_engine=debug",
        _ => "info,infra=trace,infra_engine=trace",
    };
    let started = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(color)
        .with_target(false)
        .try_init();
    // A second start (a test) keeps the first.
    drop(started);
}
