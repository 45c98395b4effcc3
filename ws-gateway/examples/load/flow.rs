//! Scenes of messages that flow: to one, to a thousand, and from a device through a backend to a phone.

use std::sync::Arc;
use std::time::Duration;

use keyway_bus::{
    Backend, Channels, Delivery, Handler, NewPublication, Outcome, PublishOptions, ServeOptions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use ws_gateway::frame::{ClientFrame, encode_client};

use crate::stack::{Kind, Stack, resp};
use crate::traffic::{Load, Publisher, Row, Tally, measured, payload, read_marks};

/// The size that the design's table was measured with.
const PAYLOAD_BYTES: usize = 200;

pub async fn point(stack: &Stack, namespace: &str, options: PublishOptions) -> anyhow::Result<Row> {
    let tally = Tally::new();
    for n in 0..200 {
        let stream = stack.subscriber(n, &format!("{namespace}:a.{n}")).await?;
        tokio::spawn(read_marks(stream, Arc::clone(&tally), true));
    }
    let mut publisher = Publisher::new(stack, options).await?;
    let times = Arc::clone(&tally);
    let load = Load { count: 60_000, receivers: 1, per_s: 12_000, evenly: false };
    measured(stack, &tally, load, async |n| {
        let channel = format!("{namespace}:a.{}", n % 200);
        publisher.publish(channel, payload(times.now_us(), PAYLOAD_BYTES)).await
    })
    .await
}

pub async fn fanout(stack: &Stack) -> anyhow::Result<Row> {
    let tally = Tally::new();
    for n in 0..1000 {
        let stream = stack.subscriber(n, "live:a.all").await?;
        tokio::spawn(read_marks(stream, Arc::clone(&tally), n % 50 == 0));
    }
    let mut publisher = Publisher::new(stack, PublishOptions::default()).await?;
    let times = Arc::clone(&tally);
    let load = Load { count: 1_000, receivers: 1_000, per_s: 200, evenly: false };
    measured(stack, &tally, load, async |_| {
        publisher.publish("live:a.all".to_owned(), payload(times.now_us(), PAYLOAD_BYTES)).await
    })
    .await
}

/// One publication after the other, far from any bound: how long each takes.
pub async fn whisper(stack: &Stack) -> anyhow::Result<Row> {
    let tally = Tally::new();
    for n in 0..100 {
        let stream = stack.subscriber(n, &format!("live:a.{n}")).await?;
        tokio::spawn(read_marks(stream, Arc::clone(&tally), true));
    }
    let mut publisher = Publisher::new(stack, PublishOptions::default()).await?;
    let times = Arc::clone(&tally);
    let load = Load { count: 10_000, receivers: 1, per_s: 1_000, evenly: true };
    measured(stack, &tally, load, async |n| {
        publisher.publish(format!("live:a.{}", n % 100), payload(times.now_us(), PAYLOAD_BYTES)).await
    })
    .await
}

/// 100 devices report, a backend answers and tells 100 phones.
pub async fn relay(stack: &Stack, load: Load) -> anyhow::Result<Row> {
    let tally = Tally::new();
    let mut devices = Vec::new();
    for n in 0..100 {
        let phone = stack.subscriber(n, &format!("live:a.{n}")).await?;
        tokio::spawn(read_marks(phone, Arc::clone(&tally), true));
        let device = stack.subscriber(n, &format!("live:d.{n}")).await?;
        let (mut reader, writer) = device.into_split();
        tokio::spawn(async move {
            let mut sink = vec![0; 16 * 1024];
            while reader.read(&mut sink).await.is_ok_and(|count| count > 0) {}
        });
        devices.push(writer);
    }
    let serving = match stack.kind {
        Kind::Gateway => gateway_backend(stack).await?,
        Kind::Peer | Kind::Nats => peer_backend(stack).await?,
    };
    // Leases are taken within moments; the first requests wait for them.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (times, kind) = (Arc::clone(&tally), stack.kind);
    let row = measured(stack, &tally, load, async |n| {
        let (to, data) = ((n % 100) as usize, payload(times.now_us(), PAYLOAD_BYTES));
        let text = match kind {
            Kind::Gateway => format!("{{\"id\":{},\"rpc\":{{\"method\":\"{to}\",\"data\":{data}}}}}", n + 10),
            Kind::Peer | Kind::Nats => format!("{{\"to\":{to},\"data\":{data}}}"),
        };
        let mut out = Vec::new();
        encode_client(&mut out, ClientFrame::Text, text.as_bytes(), [1, 2, 3, 4]);
        Ok(devices[to].write_all(&out).await?)
    })
    .await;
    serving.abort();
    row
}

async fn gateway_backend(stack: &Stack) -> anyhow::Result<JoinHandle<()>> {
    let backend = stack.backend().await?;
    let publisher = Arc::clone(&backend);
    let handler = Handler::new(move |delivery: Delivery| {
        let publisher = Arc::clone(&publisher);
        async move {
            let channel = format!("live:a.{}", delivery.request.method);
            let publication = NewPublication::of(delivery.request.data);
            match publisher.publish(&channel, publication, &PublishOptions::default()).await {
                Ok(_) => Outcome::Reply(Ok("{}".into())),
                Err(error) => Outcome::Reply(Err(keyway_bus::ReplyError::temporary(error.to_string()))),
            }
        }
    });
    Ok(tokio::spawn(async move {
        let forever = Box::pin(std::future::pending());
        if let Err(error) = backend.serve(ServeOptions::default(), handler, forever).await {
            eprintln!("the backend ended: {error}");
        }
    }))
}

/// The same for the peer, which answers nobody: `{"to":n,"data":...}` from one channel into another.
async fn peer_backend(stack: &Stack) -> anyhow::Result<JoinHandle<()>> {
    let (mut reader, mut writer) = TcpStream::connect(stack.redis_address()).await?.into_split();
    writer.write_all(resp(&["SUBSCRIBE", "up"]).as_bytes()).await?;
    let mut publisher = Publisher::new(stack, PublishOptions::default()).await?;
    Ok(tokio::spawn(async move {
        // Messages are of one length, so the number stands at a known distance before the mark.
        let mut text = String::new();
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = reader.read(&mut chunk).await {
            text.push_str(&String::from_utf8_lossy(&chunk[..count]));
            while let (Some(from), Some(end)) = (text.find("{\"to\":"), text.find("}}\r\n")) {
                let message: String = text[from..end + 2].to_owned();
                text.drain(..end + 4);
                let to = message[6..].split(',').next().unwrap_or("0").to_owned();
                let data = message[message.find("\"data\":").unwrap_or(0) + 7..message.len() - 1].to_owned();
                if publisher.publish(format!("live:a.{to}"), data).await.is_err() {
                    return;
                }
            }
        }
        drop(writer);
    }))
}
