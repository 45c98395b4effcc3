//! The conformance suite on a real Redis server and on a real cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use keyway_bus::{Backend, Bus, EventSink, RedisBackend, RedisBus, RedisOptions};

use crate::conformance::{World, as_tests, cases};
use crate::server::{Cluster, Server};

/// Nodes and backends of one server, or of one cluster under a prefix of their own.
struct Redis {
    options: RedisOptions,
    /// Killed with its world.
    _server: Option<Server>,
}

#[async_trait]
impl World for Redis {
    async fn node(&self, sink: EventSink) -> Arc<dyn Bus> {
        RedisBus::connect(self.options.clone(), sink).await.unwrap()
    }

    async fn backend(&self) -> Arc<dyn Backend> {
        RedisBackend::connect(self.options.clone()).await.unwrap()
    }

    fn partition_requests_max(&self) -> usize {
        self.options.partition_requests_max
    }
}

pub fn options(url: String) -> RedisOptions {
    RedisOptions {
        partition_requests_max: 50,
        canary_every_ms: 100,
        check_every_ms: 60_000,
        ..RedisOptions::new(url)
    }
}

async fn world() -> Redis {
    let server = Server::start(&[]);
    Redis { options: options(server.url()), _server: Some(server) }
}

cases!(as_tests world);

/// One cluster for the whole suite, one key prefix per case.
mod cluster {
    use super::*;
    use crate::conformance;

    macro_rules! in_turn {
        ($cluster:ident: $($case:ident,)*) => {
            $({
                static NUMBER: AtomicU32 = AtomicU32::new(0);
                let number = NUMBER.fetch_add(1, Ordering::Relaxed);
                let options = RedisOptions {
                    key_prefix: format!("{}{number}", stringify!($case)),
                    ..options($cluster.url())
                };
                eprintln!("cluster: {}", stringify!($case));
                conformance::$case(&Redis { options, _server: None }).await;
            })*
        };
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_whole_suite() {
        let cluster = Cluster::start();
        cases!(in_turn cluster);
    }
}
