//! Dead letters over Redis: list, replay, discard. Burying is the consumer's.

use std::collections::HashMap;

use bytes::Bytes;
use fred::interfaces::StreamsInterface;
use fred::types::Value;

use crate::envelope::decode_request;
use crate::error::BusError;
use crate::limits::PARTITIONS;
use crate::redis::scripts::REPLAY;
use crate::redis::send::Sender;
use crate::request::{DeadLetter, Request};

impl Sender {
    pub(crate) async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        let mut letters = Vec::new();
        for partition in 0..PARTITIONS {
            let count = limit - letters.len();
            if count == 0 {
                break;
            }
            let entries: Result<Vec<(String, HashMap<String, Bytes>)>, _> = self
                .client(partition)
                .xrange_values(self.keys.graves(partition), "-", "+", Some(count as u64))
                .await;
            let entries = entries.map_err(|error| self.failed("listing dead letters", &error))?;
            letters.extend(entries.into_iter().map(|(id, fields)| letter(partition, &id, &fields)));
        }
        Ok(letters)
    }

    pub(crate) async fn replay(&self, id: &str) -> Result<bool, BusError> {
        let Some((partition, entry)) = parse_id(id) else { return Ok(false) };
        let keys = vec![self.keys.graves(partition).into(), self.keys.requests(partition).into()];
        let arguments: Vec<Value> = vec![entry.into(), (self.partition_requests_max as i64).into()];
        match self.run::<i64>("replaying", partition, &REPLAY, keys, arguments).await? {
            1 => Ok(true),
            0 => Ok(false),
            _ => Err(BusError::full("replaying", self.partition_requests_max)),
        }
    }

    pub(crate) async fn discard(&self, id: &str) -> Result<bool, BusError> {
        let Some((partition, entry)) = parse_id(id) else { return Ok(false) };
        let deleted: Result<u64, _> = self.client(partition).xdel(self.keys.graves(partition), entry).await;
        deleted.map(|count| count > 0).map_err(|error| self.failed("discarding a dead letter", &error))
    }
}

/// A letter whose request cannot be read is listed all the same, with its bytes as data.
fn letter(partition: u16, id: &str, fields: &HashMap<String, Bytes>) -> DeadLetter {
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let number =
        |name: &str| std::str::from_utf8(&field(name)).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let stored = field("r");
    let request = decode_request(stored.clone())
        .map_or_else(|_| Request { data: stored, ..Request::default() }, |(request, _, _)| request);
    DeadLetter {
        id: format!("{partition}:{id}"),
        request,
        deliveries: number("n") as u32,
        reason: String::from_utf8_lossy(&field("w")).into_owned(),
        buried_ms: number("t"),
    }
}

/// `<partition>:<ms>-<n>`; anything else names no letter.
fn parse_id(id: &str) -> Option<(u16, &str)> {
    let (partition, entry) = id.split_once(':')?;
    let (ms, sequence) = entry.split_once('-')?;
    ms.parse::<u64>().ok()?;
    sequence.parse::<u64>().ok()?;
    let partition = partition.parse().ok().filter(|partition| *partition < PARTITIONS)?;
    Some((partition, entry))
}
