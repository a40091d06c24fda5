//! Measures a bus: records per second of 1 KB and of 300 KB, published durably and read by a group.
//!
//! `cargo run --profile ci -p beffroi-bus --example bus_throughput` runs the embedded bus in a temporary folder, and a real Kafka
//! on loopback when Java and its jars are there. The generator shares the cores with the bus, as the figures say.

use std::time::{Duration, Instant};

use beffroi_bus::testing::KafkaFixture;
use beffroi_bus::{Bus, BusOptions, EmbeddedOptions, Outgoing, Topic};
use futures::StreamExt;

/// Publishers at work at once, as many agents would be.
const AT_ONCE: usize = 256;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("beffroi-bus-bench-{}", std::process::id()));
    let embedded = BusOptions::Embedded(EmbeddedOptions { dir: dir.clone(), ..Default::default() });
    let measured = measure("embedded", embedded).await;
    std::fs::remove_dir_all(&dir)?;
    measured?;
    let fixture = tokio::task::spawn_blocking(KafkaFixture::start_or_skip).await?;
    if let Some(fixture) = &fixture {
        measure("kafka", BusOptions::Kafka(fixture.options("bench."))).await?;
    }
    tokio::task::spawn_blocking(move || drop(fixture)).await?;
    Ok(())
}

async fn measure(name: &str, options: BusOptions) -> Result<(), Box<dyn std::error::Error>> {
    let bus = Bus::open(options).await?;
    bus.publish(Topic::Events, Outgoing::new("warm", "up")).await?;
    let started = Instant::now();
    bus.publish(Topic::Events, Outgoing::new("one", "alone")).await?;
    println!("{name}: one record alone {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    for (size, count) in [(1024, 200_000), (300 * 1024, 3_000)] {
        let group = format!("bench-{size}");
        let before: i64 = ends(&bus).await?;
        let mut times = publish(&bus, size, count).await?;
        let seconds = times.pop().unwrap_or_default();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] * 1e3;
        let rate = count as f64 / seconds;
        let mb = rate * size as f64 / 1e6;
        println!("{name}: publish {size} B: {rate:.0} records/s, {mb:.0} MB/s; p50 {:.1} ms, p99 {:.1} ms", at(0.5), at(0.99));
        let (read, seconds) = read(&bus, &group, before as usize + count).await?;
        println!("{name}: read    {size} B: {:.0} records/s (all {read} in the topic)", read as f64 / seconds);
    }
    bus.close().await;
    Ok(())
}

async fn ends(bus: &Bus) -> Result<i64, Box<dyn std::error::Error>> {
    Ok(bus.lag(Topic::Events, "none").await?.iter().map(|lag| lag.end).sum())
}

/// The time of each publish, and last that of all together (seconds).
async fn publish(bus: &Bus, size: usize, count: usize) -> Result<Vec<f64>, beffroi_bus::BusError> {
    // Does not compress, like a batch.
    let mut state = 7u64;
    let noise: Vec<u8> = (0..size)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    let value = bytes::Bytes::from(noise);
    let started = Instant::now();
    let one = |number: usize| {
        let record = Outgoing::new(format!("agent-{}", number % 1000), value.clone());
        async move {
            let started = Instant::now();
            bus.publish(Topic::Events, record).await.map(|_| started.elapsed().as_secs_f64())
        }
    };
    let mut publishing = futures::stream::iter((0..count).map(one)).buffer_unordered(AT_ONCE);
    let mut times = Vec::with_capacity(count + 1);
    while let Some(time) = publishing.next().await {
        times.push(time?);
    }
    times.push(started.elapsed().as_secs_f64());
    Ok(times)
}

async fn read(bus: &Bus, group: &str, count: usize) -> Result<(usize, f64), beffroi_bus::BusError> {
    let mut consumer = bus.subscribe(Topic::Events, group).await?;
    let (mut read, mut started) = (0, Instant::now());
    while read < count {
        let records = consumer.poll(4096, 16 << 20, Duration::from_secs(10)).await?;
        if read == 0 {
            // Joining the group is not reading.
            started = Instant::now();
        }
        read += records.len();
        if let Some(last) = records.last() {
            consumer.commit(last.partition, last.offset + 1, "").await?;
        }
    }
    Ok((read, started.elapsed().as_secs_f64()))
}
