//! The mailbox of one connection: what hub, bus answers and operators leave for it. Bounded in bytes; over the
//! bound the connection is told so once and gets nothing more. It wakes the connection's task and knows nothing else.

use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::task::AtomicWaker;
use keyway_protocol::ConnectionId;

use crate::auth::Identity;
use crate::session::Input;

/// A mailbox gives its memory back after a burst of more than this many inputs.
const IDLE_CAPACITY: usize = 8;

pub struct Link {
    pub id: ConnectionId,
    /// Set when the connection has been admitted under its user, and with every new token.
    identity: Mutex<Option<Arc<Identity>>>,
    queue: Mutex<Queue>,
    waker: AtomicWaker,
}

struct Queue {
    inputs: Vec<Input>,
    bytes: usize,
    bytes_max: usize,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Open,
    Overflowed,
    Gone,
}

impl Link {
    pub fn new(id: ConnectionId, bytes_max: usize) -> Link {
        let queue = Queue { inputs: Vec::new(), bytes: 0, bytes_max, state: State::Open };
        Link { id, identity: Mutex::default(), queue: Mutex::new(queue), waker: AtomicWaker::new() }
    }

    pub fn identity(&self) -> Option<Arc<Identity>> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_identity(&self, identity: &Arc<Identity>) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(identity));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `bytes` is what the input will cost in the outbox; zero for what is bounded elsewhere.
    pub fn push(&self, input: Input, bytes: usize) {
        let mut queue = self.queue();
        if queue.state != State::Open {
            return;
        }
        queue.bytes += bytes;
        let wake = queue.inputs.is_empty();
        if queue.bytes > queue.bytes_max {
            // Nothing of the backlog will be delivered: the client recovers.
            queue.state = State::Overflowed;
            queue.inputs = vec![Input::Overflow];
        } else {
            queue.inputs.push(input);
        }
        drop(queue);
        if wake {
            self.waker.wake();
        }
    }

    /// Moves everything into `inputs`, which is empty; its memory is reused for the next round.
    pub fn take(&self, inputs: &mut Vec<Input>) {
        let mut queue = self.queue();
        if queue.inputs.is_empty() {
            return;
        }
        std::mem::swap(&mut queue.inputs, inputs);
        queue.bytes = 0;
        if queue.inputs.capacity() > IDLE_CAPACITY {
            queue.inputs = Vec::new();
        }
    }

    pub fn listen(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }

    /// The connection is over: whatever is still sent to it is dropped here.
    pub fn retire(&self) {
        let mut queue = self.queue();
        queue.state = State::Gone;
        queue.inputs = Vec::new();
    }
}
