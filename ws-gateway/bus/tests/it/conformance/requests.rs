//! What every bus promises about requests: answers, order, redelivery, dead letters, sharing, bounds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use keyway_bus::{BusError, Delivery, Handler, Outcome, ReplyError, Request, ServeOptions, Unavailable};

use crate::conformance::{Serving, World, now_ms, patient, question, recording};
use crate::recorder::{Recorder, until};

pub async fn requests_are_answered(world: &dyn World) {
    let nodes = [world.node(Recorder::new().sink()).await, world.node(Recorder::new().sink()).await];
    let handler = Handler::new(|delivery: Delivery| async move {
        let Request { method, data, user, client, tenant, partition_key, meta, .. } = delivery.request;
        assert!(delivery.wants_reply && delivery.deliveries == 1 && delivery.fence > 0);
        if method == "test.refuse" {
            return Outcome::Reply(Err(ReplyError::new(403, "no: 🚪")));
        }
        let data = String::from_utf8(data.to_vec()).unwrap();
        let meta = String::from_utf8(meta.to_vec()).unwrap();
        Outcome::Reply(Ok(format!("{method} {data} {user} {client} {tenant} {partition_key} {meta}").into()))
    });
    let serving = Serving::start(world.backend().await, handler);
    let answers = join_all((0..200).map(|number| {
        let node = &nodes[number % 2];
        async move { node.request(question(&format!("dev_{}", number % 20), &number.to_string())).await }
    }));
    for (number, answer) in answers.await.into_iter().enumerate() {
        let wanted = format!("test.echo {number} alice c1 acme dev_{} m", number % 20);
        assert_eq!(answer.unwrap(), Ok(wanted.into()));
    }
    let refused = Request { method: "test.refuse".into(), ..question("k", "") };
    let refused = nodes[0].request(refused).await.unwrap();
    assert_eq!(refused, Err(ReplyError { code: 403, message: "no: 🚪".into(), temporary: false }));
    serving.finish().await;
}

/// Without a task for each: queued in the order of asking, and heard of exactly once, whatever came of it.
pub async fn what_is_asked_is_done_once(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    let count = world.partition_requests_max() as u32 - 10;
    let (overdue, large, other) = (count, count + 1, count + 2);
    let heard: Arc<Mutex<HashMap<u32, Vec<String>>>> = Arc::default();
    let ask = |number: u32, request: Request| {
        let heard = Arc::clone(&heard);
        let done = Box::new(move |outcome: Result<keyway_bus::Reply, BusError>| {
            let text = match outcome {
                Ok(reply) => String::from_utf8(reply.unwrap().to_vec()).unwrap(),
                Err(error) => error.to_string(),
            };
            heard.lock().unwrap().entry(number).or_default().push(text);
        });
        node.ask(request, done);
    };
    // What is overdue is looked for now and then, and with each new question; `other` is only that.
    let look = async || {
        ask(other, patient("again", "x"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        heard.lock().unwrap().clone()
    };
    ask(overdue, Request { deadline_ms: now_ms() + 1, ..question("nobody waits", "x") });
    until("the end of waiting", &look, |heard| heard.contains_key(&overdue)).await;
    for number in 0..count {
        ask(number, patient("one", &number.to_string()));
    }
    ask(
        large,
        Request { data: Bytes::from(vec![0; keyway_bus::PAYLOAD_BYTES_MAX + 1]), ..question("large", "") },
    );
    let (handler, seen) = recording();
    let serving = Serving::start(world.backend().await, handler);
    let heard = until("everybody to have heard", &look, |heard| heard.len() as u32 == count + 3).await;
    for number in 0..other {
        assert_eq!(heard[&number].len(), 1, "{number}: {:?}", heard[&number]);
    }
    assert!(heard[&overdue][0].contains("no reply"), "{:?}", heard[&overdue]);
    assert!(heard[&large][0].contains("request.data"), "{:?}", heard[&large]);
    let order: Vec<String> = seen().into_iter().filter(|seen| seen.starts_with("one ")).collect();
    let wanted: Vec<String> = (0..count).map(|number| format!("one {number} 1")).collect();
    assert_eq!(order, wanted);
    serving.finish().await;
}

pub async fn a_request_without_backend_has_no_reply(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    let soon = now_ms() + 200;
    let asked = node.request(Request { deadline_ms: soon, ..question("k", "kept") }).await;
    assert!(matches!(&asked, Err(BusError::NoReply { method }) if method == "test.echo"), "{asked:?}");
    assert!(asked.unwrap_err().is_temporary());
    // It is not lost: a backend that comes later gets it, and its answer is dropped cleanly.
    let (handler, seen) = recording();
    let serving = Serving::start(world.backend().await, handler);
    until("the kept request", || async { seen() }, |seen| seen == &["k kept 1"]).await;
    until("the answer to be dropped", || async { node.health().replies_unclaimed }, |count| *count == 1)
        .await;
    serving.finish().await;
}

pub async fn order_is_kept_per_key(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    let seen: Arc<Mutex<HashMap<String, Vec<u32>>>> = Arc::default();
    let handler = {
        let seen = Arc::clone(&seen);
        Handler::new(move |delivery: Delivery| {
            let seen = Arc::clone(&seen);
            async move {
                // Uneven work: without lanes later requests would overtake.
                let number: u32 = String::from_utf8_lossy(&delivery.request.data).parse().unwrap();
                tokio::time::sleep(Duration::from_millis(u64::from(number % 3) * 2)).await;
                seen.lock().unwrap().entry(delivery.request.partition_key).or_default().push(number);
                Outcome::Reply(Ok(Bytes::new()))
            }
        })
    };
    for number in 0..40u32 {
        for key in ["a", "b", "c"] {
            node.send(question(key, &number.to_string())).await.unwrap();
        }
    }
    let serving = Serving::start(world.backend().await, handler);
    let wanted: Vec<u32> = (0..40).collect();
    let seen = || async { seen.lock().unwrap().clone() };
    let seen = until("everything", seen, |seen| seen.values().map(Vec::len).sum::<usize>() >= 120).await;
    for key in ["a", "b", "c"] {
        assert_eq!(seen[key], wanted, "order of {key}");
    }
    serving.finish().await;
}

pub async fn a_failed_request_holds_its_key_back(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let handler = {
        let seen = Arc::clone(&seen);
        Handler::new(move |delivery: Delivery| {
            let seen = Arc::clone(&seen);
            async move {
                let data = String::from_utf8(delivery.request.data.to_vec()).unwrap();
                seen.lock().unwrap().push(format!("{data} {}", delivery.deliveries));
                match data.as_str() {
                    "bad" if delivery.deliveries < 3 => Outcome::Retry("not yet".into()),
                    "panic" if delivery.deliveries < 2 => panic!("a handler's fault stays its own"),
                    "stuck" if delivery.deliveries < 2 => std::future::pending().await,
                    _ => Outcome::Reply(Ok(Bytes::new())),
                }
            }
        })
    };
    for data in ["bad", "panic", "stuck", "good"] {
        node.send(question("k", data)).await.unwrap();
    }
    let serving = Serving::start(world.backend().await, handler);
    let seen = until("all four", || async { seen.lock().unwrap().clone() }, |seen| seen.len() >= 8).await;
    let wanted = ["bad 1", "bad 2", "bad 3", "panic 1", "panic 2", "stuck 1", "stuck 2", "good 1"];
    assert_eq!(seen, wanted);
    serving.finish().await;
}

/// Where a handler panics makes no difference: that delivery failed, and its lane and its partition go on.
pub async fn a_panic_is_a_failed_delivery(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    let handler = Handler::new(|delivery: Delivery| {
        let first = delivery.deliveries == 1;
        assert!(!first || delivery.request.data != "at once", "as asked");
        async move {
            assert!(!first || delivery.request.data != "later", "as asked");
            Outcome::Reply(Ok(delivery.request.data))
        }
    });
    let serving = Serving::start(world.backend().await, handler);
    for data in ["at once", "later", "never"] {
        assert_eq!(node.request(patient("k", data)).await.unwrap(), Ok(data.into()));
    }
    serving.finish().await;
}

pub async fn poison_is_buried_listed_and_replayed(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    let backend = world.backend().await;
    let poison = Handler::new(|_| async { Outcome::Retry("database away".into()) });
    let serving = Serving::start(world.backend().await, poison);
    let answer = node.request(question("k", "poison")).await.unwrap();
    assert!(matches!(&answer, Err(error) if error.temporary && error.code == 100), "{answer:?}");
    let letters = backend.dead_letters(10).await.unwrap();
    assert_eq!(letters.len(), 1, "{letters:?}");
    let letter = &letters[0];
    assert_eq!((letter.deliveries, letter.reason.as_str()), (5, "database away"));
    assert_eq!(letter.request, question("k", "poison"));
    assert!(letter.buried_ms > 1_700_000_000_000);
    serving.finish().await;

    let (handler, seen) = recording();
    let serving = Serving::start(world.backend().await, handler);
    assert!(backend.replay(&letter.id).await.unwrap());
    until("the replayed request", || async { seen() }, |seen| seen == &["k poison 1"]).await;
    assert_eq!(backend.dead_letters(10).await.unwrap(), []);
    assert!(!backend.replay(&letter.id).await.unwrap(), "a letter is replayed once");
    serving.finish().await;
}

pub async fn a_dead_letter_is_discarded(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    let backend = world.backend().await;
    let serving =
        Serving::start(world.backend().await, Handler::new(|_| async { Outcome::Retry("no".into()) }));
    for key in ["a", "b", "c"] {
        node.send(question(key, "poison")).await.unwrap();
    }
    let letters = || async { backend.dead_letters(10).await.unwrap() };
    let letters = until("three letters", letters, |letters| letters.len() == 3).await;
    assert_eq!(backend.dead_letters(2).await.unwrap().len(), 2);
    assert!(backend.discard(&letters[1].id).await.unwrap());
    assert!(!backend.discard(&letters[1].id).await.unwrap());
    for nonsense in ["", "x", "99:1-1", "1:nonsense", "-1:0"] {
        assert!(!backend.discard(nonsense).await.unwrap(), "{nonsense}");
        assert!(!backend.replay(nonsense).await.unwrap(), "{nonsense}");
    }
    assert_eq!(backend.dead_letters(10).await.unwrap().len(), 2);
    serving.finish().await;
}

pub async fn two_backends_share_partitions(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    let named = |name: &'static str| {
        Handler::new(move |_| async move { Outcome::Reply(Ok(Bytes::from_static(name.as_bytes()))) })
    };
    let first = Serving::start(world.backend().await, named("first"));
    // Which backend answers each of 64 keys of different partitions.
    let keys: Vec<String> = one_key_per_partition();
    let census = || async {
        let answers = join_all(keys.iter().map(|key| node.request(patient(key, "")))).await;
        let mut count: HashMap<Bytes, usize> = HashMap::new();
        for answer in answers {
            *count.entry(answer.unwrap().unwrap()).or_default() += 1;
        }
        (count.get(&b"first"[..]).copied().unwrap_or(0), count.get(&b"second"[..]).copied().unwrap_or(0))
    };
    assert_eq!(census().await, (64, 0));
    let second = Serving::start(world.backend().await, named("second"));
    until("half for each", census, |count| *count == (32, 32)).await;
    first.finish().await;
    until("all for the one that stays", census, |count| *count == (0, 64)).await;
    second.finish().await;
}

pub async fn a_dead_backend_s_requests_come_again(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    let begun: Arc<tokio::sync::Semaphore> = Arc::new(tokio::sync::Semaphore::new(0));
    let fence: Arc<Mutex<u64>> = Arc::default();
    let stuck = {
        let (begun, fence) = (Arc::clone(&begun), Arc::clone(&fence));
        Handler::new(move |delivery: Delivery| {
            *fence.lock().unwrap() = delivery.fence;
            begun.add_permits(1);
            std::future::pending()
        })
    };
    let dying = Serving::start(world.backend().await, stuck);
    let asked = {
        let node = Arc::clone(&node);
        tokio::spawn(async move { node.request(patient("k", "first")).await })
    };
    begun.acquire().await.unwrap().forget();
    node.send(question("k", "second")).await.unwrap();
    let later_fence: Arc<Mutex<u64>> = Arc::default();
    let (recorder, seen) = recording();
    let heir = {
        let later_fence = Arc::clone(&later_fence);
        Handler::new(move |delivery: Delivery| {
            *later_fence.lock().unwrap() = delivery.fence;
            let recorder = recorder.clone();
            async move { recorder.call(delivery).await }
        })
    };
    drop(dying);
    let heir = Serving::start(world.backend().await, heir);
    assert_eq!(
        asked.await.unwrap().unwrap(),
        Ok("first".into()),
        "the waiting requester gets the heir's answer"
    );
    let seen = until("both requests", || async { seen() }, |seen| seen.len() >= 2).await;
    assert_eq!(seen[0], "k first 2", "the interrupted request comes first, as its second delivery");
    assert!(seen[1].starts_with("k second"), "{seen:?}");
    assert!(*later_fence.lock().unwrap() > *fence.lock().unwrap(), "a new holder has a higher fence");
    heir.finish().await;
}

pub async fn a_stopped_backend_finishes(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    let begun = Arc::new(tokio::sync::Semaphore::new(0));
    let release = Arc::new(tokio::sync::Semaphore::new(0));
    let handler = {
        let (begun, release) = (Arc::clone(&begun), Arc::clone(&release));
        Handler::new(move |delivery: Delivery| {
            let (begun, release) = (Arc::clone(&begun), Arc::clone(&release));
            async move {
                begun.add_permits(1);
                release.acquire().await.unwrap().forget();
                Outcome::Reply(Ok(delivery.request.data))
            }
        })
    };
    let serving = Serving::start(world.backend().await, handler);
    let asked = {
        let node = Arc::clone(&node);
        tokio::spawn(async move { node.request(question("k", "x")).await })
    };
    begun.acquire().await.unwrap().forget();
    let finishing = tokio::spawn(serving.finish());
    release.add_permits(1);
    assert_eq!(asked.await.unwrap().unwrap(), Ok("x".into()), "what was begun is finished");
    finishing.await.unwrap();
}

/// What comes in while a backend leaves is its heir's at once, not when the lease of who is gone has run out.
pub async fn a_leaving_backend_keeps_nothing(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    let serve = async || {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (backend, (handler, _)) = (world.backend().await, recording());
        // Longer than anybody here waits.
        let options = ServeOptions { lease_ms: 60_000, ..ServeOptions::default() };
        let stopped = stopped.map(|_| ()).boxed();
        (stop, tokio::spawn(async move { backend.serve(options, handler, stopped).await }))
    };
    let (stop, serving) = serve().await;
    node.request(patient("k", "ready")).await.unwrap().unwrap();
    drop(stop);
    // Its blocking reads are still under way, and some of these go to them.
    let asked = join_all((0..40).map(|number| {
        let node = &node;
        async move {
            tokio::time::sleep(Duration::from_millis(number * 5)).await;
            node.request(patient(&format!("dev_{number}"), "x")).await
        }
    }));
    let heir = async {
        serving.await.unwrap().unwrap();
        serve().await
    };
    let (answers, (stop, heir)) = futures::join!(asked, heir);
    for answer in answers {
        assert_eq!(answer.unwrap(), Ok("x".into()));
    }
    drop(stop);
    heir.await.unwrap().unwrap();
}

pub async fn late_replies_are_dropped(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    let gone = world.node(Recorder::new().sink()).await;
    let release = Arc::new(tokio::sync::Semaphore::new(0));
    let handler = {
        let release = Arc::clone(&release);
        Handler::new(move |delivery: Delivery| {
            let release = Arc::clone(&release);
            async move {
                release.acquire().await.unwrap().forget();
                Outcome::Reply(Ok(delivery.request.data))
            }
        })
    };
    let serving = Serving::start(world.backend().await, handler);
    let soon = now_ms() + 150;
    let asked = node.request(Request { deadline_ms: soon, ..question("a", "late") }).await;
    assert!(matches!(asked, Err(BusError::NoReply { .. })), "{asked:?}");
    let asked = gone.request(Request { deadline_ms: now_ms() + 150, ..question("b", "gone") }).await;
    assert!(matches!(asked, Err(BusError::NoReply { .. })), "{asked:?}");
    drop(gone);
    release.add_permits(100);
    until("the late reply", || async { node.health().replies_unclaimed }, |count| *count == 1).await;
    assert_eq!(node.request(question("a", "in time")).await.unwrap(), Ok("in time".into()));
    serving.finish().await;
}

pub async fn a_full_stream_is_unavailable(world: &dyn World) {
    let node = world.node(Recorder::new().sink()).await;
    let bound = world.partition_requests_max();
    for number in 0..bound {
        node.send(question("k", &number.to_string())).await.unwrap();
    }
    let refused = node.request(question("k", "too much")).await;
    let full =
        |error: &BusError| matches!(error, BusError::Unavailable { why: Unavailable::Full { .. }, .. });
    assert!(refused.as_ref().is_err_and(full), "{refused:?}");
    assert!(refused.unwrap_err().is_temporary());
    let (handler, seen) = recording();
    let serving = Serving::start(world.backend().await, handler);
    let seen = until("the stream to be read", || async { seen() }, |seen| seen.len() >= bound).await;
    let wanted: Vec<String> = (0..bound).map(|number| format!("k {number} 1")).collect();
    assert_eq!(seen, wanted, "what was accepted is all there");
    assert_eq!(
        node.request(question("k", "room")).await.unwrap(),
        Ok("room".into()),
        "acknowledged makes room"
    );
    serving.finish().await;
}

fn one_key_per_partition() -> Vec<String> {
    let mut keys = vec![None; usize::from(keyway_bus::PARTITIONS)];
    for number in 0.. {
        let key = format!("dev_{number}");
        keys[usize::from(keyway_bus::partition_of(&key))].get_or_insert(key);
        if keys.iter().all(Option::is_some) {
            break;
        }
    }
    keys.into_iter().flatten().collect()
}
