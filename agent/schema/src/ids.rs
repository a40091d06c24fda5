//! Identities: agent, epoch, stream, event, process, match. All are derived from keys, start times and
//! sequence numbers, never from names in a payload (design section 3).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// An identifier could not be read from text or bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} expected, got {got:?}")]
pub struct IdError {
    /// What was expected.
    pub what: &'static str,
    /// What stood there, cut to 80 characters.
    pub got: String,
}

impl IdError {
    fn new(what: &'static str, got: &str) -> Self {
        Self { what, got: got.chars().take(80).collect() }
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0u8; $bytes];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| IdError::new($what, text))?;
                Ok(Self(bytes))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = IdError;
            fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
                let bytes = bytes.try_into().map_err(|_| IdError::new($what, &hex::encode(bytes)))?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_id!(
    /// 128 bits of SHA-256 of the agent's Ed25519 public key.
    AgentId, 16, "an agent id of 32 hex digits"
);
hex_id!(
    /// One run of a sensor: start time in microseconds (8 bytes, big endian), then 64 random bits.
    Epoch, 16, "an epoch of 32 hex digits"
);
hex_id!(
    /// SHA-256 that names a batch in its stream's chain.
    BatchHash, 32, "a batch hash of 64 hex digits"
);
hex_id!(
    /// SHA-256 over tenant, rule id and event ids: the same detection always has the same id.
    MatchId, 32, "a match id of 64 hex digits"
);
hex_id!(
    /// 128 bits of SHA-256 over tenant, group key and time bucket: what an analyst sees.
    AlertId, 16, "an alert id of 32 hex digits"
);
hex_id!(
    /// SHA-256 of a public key's DER SubjectPublicKeyInfo: names a root or an operator.
    KeyId, 32, "a key id of 64 hex digits"
);
hex_id!(
    /// An order: 16 random bytes.
    OrderId, 16, "an order id of 32 hex digits"
);

impl AgentId {
    /// The id that belongs to a public key.
    pub fn of_public_key(public_key: &[u8; 32]) -> Self {
        Self(first_16(&Sha256::digest(public_key)))
    }
}

impl Epoch {
    /// A new epoch from its start time (microseconds since 1970) and 64 bits of randomness.
    pub fn new(started_us: u64, random: u64) -> Self {
        let mut bytes = [0u8; 16];
        bytes[..8].copy_from_slice(&started_us.to_be_bytes());
        bytes[8..].copy_from_slice(&random.to_be_bytes());
        Self(bytes)
    }

    /// When the sensor started, by its own clock, in microseconds since 1970.
    pub fn started_us(&self) -> u64 {
        let mut bytes = [0u8; 8];
        bytes.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(bytes)
    }
}

/// Classes of events, in the order in which they are kept when the spool is full: the last goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Stream {
    /// Detections, authentication, and what the agent says of itself (heartbeats, receipts).
    Detection = 0,
    /// Process starts and ends.
    Exec = 1,
    /// Network connections and name look-ups.
    Network = 2,
    /// File changes.
    File = 3,
    /// Everything else (log lines, high-volume sources).
    Bulk = 4,
}

impl Stream {
    /// All streams, highest class first.
    pub const ALL: [Stream; 5] = [Self::Detection, Self::Exec, Self::Network, Self::File, Self::Bulk];

    /// The stream with this number, if there is one.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| u32::from(stream.number()) == number)
    }

    /// Number on the wire.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Name in folders, tables and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Detection => "detection",
            Self::Exec => "exec",
            Self::Network => "network",
            Self::File => "file",
            Self::Bulk => "bulk",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One record of one agent; its text is `agent-epoch-stream-seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    /// Who recorded it.
    pub agent: AgentId,
    /// In which run.
    pub epoch: Epoch,
    /// In which stream.
    pub stream: Stream,
    /// Number in the stream, from 1.
    pub seq: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{}", self.agent, self.epoch, self.stream.number(), self.seq)
    }
}

impl FromStr for EventId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = || IdError::new("an event id agent-epoch-stream-seq", text);
        let mut parts = text.splitn(4, '-');
        let mut next = || parts.next().ok_or_else(bad);
        Ok(Self {
            agent: next()?.parse()?,
            epoch: next()?.parse()?,
            stream: next()?.parse().ok().and_then(Stream::from_number).ok_or_else(bad)?,
            seq: next()?.parse().map_err(|_| bad())?,
        })
    }
}

impl Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The UUID of a process: the same from every source on one host.
///
/// `tgid` is the number in the initial pid namespace, `start_ticks` the start time since boot in units of 10 ms
/// (`starttime` of proc_pid_stat(5), which is also what the kernel probes are reduced to).
pub fn process_guid(agent: AgentId, boot_id: &str, tgid: u32, start_ticks: u64) -> uuid::Uuid {
    let mut hash = Sha256::new();
    hash.update(b"beffroi-process-v1\0");
    hash.update(agent.0);
    hash.update((boot_id.len() as u64).to_be_bytes());
    hash.update(boot_id);
    hash.update(tgid.to_be_bytes());
    hash.update(start_ticks.to_be_bytes());
    uuid::Builder::from_custom_bytes(first_16(&hash.finalize())).into_uuid()
}

/// The id of a detection: tenant, rule and the events that made it (order does not matter).
pub fn match_id(tenant: &str, rule_id: &str, events: &[EventId]) -> MatchId {
    let mut events: Vec<String> = events.iter().map(ToString::to_string).collect();
    events.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(b"beffroi-match-v1\0");
    for part in [tenant, rule_id].into_iter().chain(events.iter().map(String::as_str)) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    MatchId(hash.finalize().into())
}

/// The id of an alert: tenant, group key and the start of its time bucket in microseconds.
pub fn alert_id(tenant: &str, group_key: &str, bucket_us: i64) -> AlertId {
    let mut hash = Sha256::new();
    hash.update(b"beffroi-alert-v1\0");
    for part in [tenant, group_key] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(bucket_us.to_be_bytes());
    AlertId(first_16(&hash.finalize()))
}

/// A tenant name fit for keys and rows: 1 to 63 of `a-z 0-9 -`, beginning with a letter or digit.
pub fn is_tenant_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= crate::limits::MAX_TENANT_BYTES
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn first_16(digest: &[u8]) -> [u8; 16] {
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_survives_its_text() {
        let id = EventId { agent: AgentId([7; 16]), epoch: Epoch::new(1_700_000_000_000_000, 42), stream: Stream::File, seq: 9 };
        assert_eq!(id.to_string().parse::<EventId>().unwrap(), id);
        assert_eq!(id.epoch.started_us(), 1_700_000_000_000_000);
    }

    #[test]
    fn a_match_id_does_not_depend_on_the_order_of_its_events_but_on_all_else() {
        let event = |seq| EventId { agent: AgentId([1; 16]), epoch: Epoch::new(1, 2), stream: Stream::Exec, seq };
        let id = match_id("t", "r", &[event(1), event(2)]);
        assert_eq!(id, match_id("t", "r", &[event(2), event(1)]));
        assert_ne!(id, match_id("t2", "r", &[event(1), event(2)]));
        assert_ne!(id, match_id("t", "r2", &[event(1), event(2)]));
        assert_ne!(id, match_id("t", "r", &[event(1)]));
    }

    #[test]
    fn hostile_tenant_names_are_refused() {
        for bad in ["", "-a", "A", "a.b", "a/b", "é", "a b", &"a".repeat(64)] {
            assert!(!is_tenant_name(bad), "{bad:?}");
        }
        for good in ["a", "interieur", "min-2", "0x"] {
            assert!(is_tenant_name(good), "{good:?}");
        }
    }

    #[test]
    fn broken_event_ids_say_what_was_expected() {
        let error = "abc-1".parse::<EventId>().unwrap_err();
        assert!(error.to_string().contains("agent id"), "{error}");
    }
}
