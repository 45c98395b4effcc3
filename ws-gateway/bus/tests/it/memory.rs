//! The conformance suite on the bus of one process.

use std::sync::Arc;

use async_trait::async_trait;
use keyway_bus::{Backend, Bus, EventSink, MemoryBroker, MemoryOptions};

use crate::conformance::{World, as_tests, cases};

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
