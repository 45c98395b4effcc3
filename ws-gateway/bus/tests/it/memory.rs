//! The conformance suite on the bus of one process.

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use keyway_bus::{
    Backend, Bus, DeadLetter, EventSink, Handler, MemoryBroker, MemoryOptions, Outcome, ServeOptions,
};

use crate::conformance::{World, as_tests, cases, question};
use crate::recorder::{Recorder, until};

struct Memory(MemoryBroker);

#[async_trait]
impl World for Memory {
    async fn node(&self, sink: EventSink) -> Arc<dyn Bus> {
        self.0.node(sink)
    }

    async fn backend(&self) -> Arc<dyn Backend> {
        self.0.backend()
    }

    fn partition_requests_max(&self) -> usize {
        50
    }
}

async fn world() -> Memory {
    Memory(MemoryBroker::new(MemoryOptions { partition_requests_max: 50 }))
}

cases!(as_tests world);

/// A thousand and one that nobody can do: the oldest is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_bounded() {
    let world = world().await;
    let (node, backend) = (world.node(Recorder::new().sink()).await, world.backend().await);
    let handler = Handler::new(|_| async { Outcome::Retry("as asked".into()) });
    let options = ServeOptions { deliveries_max: 1, ..ServeOptions::default() };
    let serving = {
        let backend = Arc::clone(&backend);
        tokio::spawn(async move { backend.serve(options, handler, std::future::pending().boxed()).await })
    };
    for number in 0..=1_000 {
        let queued = || async { node.send(question("k", &number.to_string())).await.is_ok() };
        until("room in the partition", queued, |queued| *queued).await;
    }
    let letters = || async { backend.dead_letters(2_000).await.unwrap() };
    let last = |letters: &Vec<DeadLetter>| letters.last().is_some_and(|last| last.request.data == "1000");
    let letters = until("the last one to be buried", letters, last).await;
    assert_eq!((letters.len(), &*letters[0].request.data), (1_000, &b"1"[..]));
    serving.abort();
}
