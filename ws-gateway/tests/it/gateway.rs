//! A gateway on free ports of this process, on the memory bus, with a backend that answers a few methods.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use keyway_bus::{Backend, Bus, MemoryBroker, Outcome, ServeOptions};
use tokio::sync::Notify;
use ws_gateway::node::Node;
use ws_gateway::{Config, Gateway};

pub struct Running {
    pub public: SocketAddr,
    pub private: SocketAddr,
    pub node: Arc<Node>,
    pub broker: MemoryBroker,
    pub stop: Arc<Notify>,
    pub task: tokio::task::JoinHandle<()>,
    backend: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
        self.backend.abort();
    }
}

/// Everything of development mode unless `extra` says otherwise.
pub const DEVELOPMENT: &str = "insecure = true\n";

pub async fn start(extra: &str) -> Running {
    start_on(MemoryBroker::default(), extra).await
}

pub async fn start_on(broker: MemoryBroker, extra: &str) -> Running {
    let free = "listen = \"127.0.0.1:0\"\nprivate_listen = \"127.0.0.1:0\"\n";
    start_exactly(broker, &format!("{free}{extra}")).await
}

/// On the addresses that `text` names.
pub async fn start_exactly(broker: MemoryBroker, text: &str) -> Running {
    start_with(broker, text, |bus| bus).await
}

/// On a bus that `wrap` makes of the broker's.
pub async fn start_with(
    broker: MemoryBroker,
    text: &str,
    wrap: impl FnOnce(Arc<dyn Bus>) -> Arc<dyn Bus>,
) -> Running {
    let config = Config::load(Some(("test", text)), []).unwrap_or_else(|faults| panic!("{faults}"));
    let gateway = Gateway::start(config, async |sink| Ok(wrap(broker.node(sink)))).await.unwrap();
    let (public, private) = (gateway.public_address().unwrap(), gateway.private_address().unwrap());
    let node = Arc::clone(&gateway.node);
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let task = tokio::spawn(gateway.run(async move { stopped.notified().await }));
    let backend = tokio::spawn(serve(broker.backend()));
    Running { public, private, node, broker, stop, task, backend }
}

/// Answers `echo` with its data, `count` with how many `count`s came before, `whoami` with the user,
/// `fail` with error 1000, `refuse` with the error in its data, and `silence` never.
pub async fn serve(backend: Arc<impl Backend + ?Sized>) {
    let counter = Arc::new(AtomicU64::new(0));
    let handler = keyway_bus::Handler::new(move |delivery: keyway_bus::Delivery| {
        let request = delivery.request;
        // In the order in which the bus hands them over, before anything is awaited.
        let count = (request.method == "count").then(|| counter.fetch_add(1, Ordering::SeqCst));
        async move {
            match request.method.as_str() {
                "count" => Outcome::Reply(Ok(Bytes::from(count.unwrap_or_default().to_string()))),
                "echo" | "send" => Outcome::Reply(Ok(request.data)),
                "whoami" => Outcome::Reply(Ok(Bytes::from(format!("{{\"user\":\"{}\"}}", request.user)))),
                "fail" => Outcome::Reply(Err(keyway_bus::ReplyError::new(1000, "as asked"))),
                "refuse" => {
                    let error: serde_json::Value = serde_json::from_slice(&request.data).unwrap();
                    Outcome::Reply(Err(keyway_bus::ReplyError {
                        code: error["code"].as_u64().unwrap() as u32,
                        message: error["message"].as_str().unwrap().to_owned(),
                        temporary: error["temporary"] == true,
                    }))
                }
                "silence" => std::future::pending().await,
                _ => Outcome::Reply(Err(keyway_bus::ReplyError::new(104, "method not found"))),
            }
        }
    });
    backend.serve(ServeOptions::default(), handler, std::future::pending().boxed()).await.unwrap();
}
