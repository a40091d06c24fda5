//! Batches as a real agent seals them: numbered, chained and signed with an identity key. No network here.

use anyhow::{Context, Result};
use beffroi_schema::batch::{BatchBuilder, Header, HostInfo, Record, SealedBatch};
use beffroi_schema::{AgentId, BatchHash, Epoch, Event, SigningKey, Stream};

/// Where a stream stands.
#[derive(Debug, Clone, Copy, Default)]
struct Chain {
    last: u64,
    hash: BatchHash,
}

/// An identity with its streams.
pub struct Sender {
    /// Identity key.
    pub key: SigningKey,
    /// What the host says of itself.
    pub host: HostInfo,
    tenant: String,
    epoch: Epoch,
    chains: [Chain; Stream::ALL.len()],
}

impl Sender {
    /// The host with this number in a tenant. Its key is no secret: it speaks for a made-up host on a collector that
    /// lives as long as the benchmark.
    pub fn new(tenant: &str, number: u64, started_us: i64) -> Self {
        let mut random = super::random::Random::new(number ^ started_us as u64);
        let mut seed = [0u8; 32];
        seed.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.next().to_be_bytes()));
        let host = HostInfo {
            hostname: format!("bench-{number}"),
            os: "Debian GNU/Linux 12 (bookworm)".into(),
            kernel: "6.1.0-26-amd64".into(),
            architecture: "x86_64".into(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            boot_id: random.uuid(),
            addresses: vec!["10.20.0.7".into()],
        };
        let epoch = Epoch::new(started_us as u64, random.next());
        Self { key: SigningKey::from_bytes(&seed), host, tenant: tenant.into(), epoch, chains: Default::default() }
    }

    /// Id of the host.
    pub fn id(&self) -> AgentId {
        AgentId::of_public_key(&self.key.verifying_key().to_bytes())
    }

    /// The next batch of a stream.
    pub fn seal(&mut self, stream: Stream, events: Vec<Event>) -> Result<SealedBatch> {
        let chain = &mut self.chains[usize::from(stream.number())];
        let mut builder = BatchBuilder::new(&self.host);
        for mut event in events {
            chain.last += 1;
            event.seq = chain.last;
            builder.push(&Record::Event(event));
        }
        let header = Header::unsealed(
            self.tenant.clone(),
            AgentId::of_public_key(&self.key.verifying_key().to_bytes()),
            self.epoch,
            stream,
            chain.hash,
        );
        let batch = builder.seal(header, &self.key).context("a batch of the generator is beyond the limits")?;
        chain.hash = batch.hash;
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use beffroi_schema::batch::{ChainState, Envelope};

    use super::super::mix::Mix;
    use super::*;

    #[test]
    fn its_batches_are_signed_and_follow_each_other() {
        let (mut sender, mut mix) = (Sender::new("bench", 1, 9), Mix::new(1));
        let mut head = None;
        for _ in 0..3 {
            let batch = sender.seal(Stream::Exec, mix.events(Stream::Exec, 10, 9)).unwrap();
            let envelope = Envelope::parse(&batch.bytes).unwrap();
            envelope.verify().unwrap();
            let ChainState::Follows(next) = envelope.follows(head, &[]).unwrap() else { panic!("it does not follow") };
            head = Some(next);
        }
        assert_eq!(head.unwrap().last, 30);
    }
}
