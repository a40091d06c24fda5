-- What is covered, what was declared lost, how far each stream says it has come, and who was last seen.
-- Together they find a hole that no agent declared.

-- Ranges of numbers that stand in the store, one row per batch of an agent.
--@ block ledger
CREATE TABLE IF NOT EXISTS ledger
(
    tenant LowCardinality(String),
    agent LowCardinality(String),
    epoch LowCardinality(String),
    stream UInt8,
    first UInt64,
    last UInt64,
    batch_hash FixedString(32),
    received_at DateTime64(6, 'UTC'),
    stored_at DateTime64(6, 'UTC'),
    keep UInt64 DEFAULT 18446744073709551615 - toUInt64(toUnixTimestamp64Micro(stored_at))
)
ENGINE = {{replacing}}(keep)
PARTITION BY toDate(received_at)
ORDER BY (tenant, agent, epoch, stream, first, last, batch_hash)
TTL toDateTime(received_at) + INTERVAL {{event_days}} DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplication_window}};

-- Last numbers that an agent names for a stream: in heartbeats, and for the previous epoch at the start of a new one.
--@ block heads
CREATE TABLE IF NOT EXISTS heads
(
    tenant LowCardinality(String),
    agent LowCardinality(String),
    epoch LowCardinality(String),
    stream UInt8,
    last UInt64,
    ts DateTime64(6, 'UTC'),
    received_at DateTime64(6, 'UTC'),
    stored_at DateTime64(6, 'UTC'),
    keep UInt64 DEFAULT 18446744073709551615 - toUInt64(toUnixTimestamp64Micro(stored_at))
)
ENGINE = {{replacing}}(keep)
PARTITION BY toDate(received_at)
ORDER BY (tenant, agent, epoch, stream, last)
TTL toDateTime(received_at) + INTERVAL {{event_days}} DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplication_window}};

--@ block gaps
CREATE TABLE IF NOT EXISTS gaps
(
    tenant LowCardinality(String),
    agent LowCardinality(String),
    epoch LowCardinality(String),
    stream UInt8,
    seq UInt64,
    host LowCardinality(String),
    ts DateTime64(6, 'UTC'),
    received_at DateTime64(6, 'UTC'),
    stored_at DateTime64(6, 'UTC'),
    reason LowCardinality(String),
    hook LowCardinality(String),
    lost Nullable(UInt64),
    from_ts DateTime64(6, 'UTC'),
    to_ts DateTime64(6, 'UTC'),
    first_seq UInt64,
    last_seq UInt64,
    keep UInt64 DEFAULT 18446744073709551615 - toUInt64(toUnixTimestamp64Micro(stored_at))
)
ENGINE = {{replacing}}(keep)
PARTITION BY toYYYYMM(received_at)
ORDER BY (tenant, agent, epoch, stream, seq, reason, hook, from_ts, to_ts)
TTL toDateTime(received_at) + INTERVAL {{alert_days}} DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplication_window}};

--@ block heartbeats
CREATE TABLE IF NOT EXISTS heartbeats
(
    tenant LowCardinality(String),
    agent LowCardinality(String),
    epoch LowCardinality(String),
    seq UInt64,
    host LowCardinality(String),
    ts DateTime64(6, 'UTC'),
    received_at DateTime64(6, 'UTC'),
    stored_at DateTime64(6, 'UTC'),
    hook_names Array(LowCardinality(String)),
    hook_on Array(Bool),
    hook_why Array(String),
    hook_seen Array(UInt64),
    hook_dropped Array(UInt64),
    counters Map(LowCardinality(String), UInt64),
    spool_bytes UInt64,
    spool_oldest DateTime64(6, 'UTC'),
    cpu_us UInt64,
    rss_bytes UInt64,
    policy_version UInt64,
    keep UInt64 DEFAULT 18446744073709551615 - toUInt64(toUnixTimestamp64Micro(stored_at))
)
ENGINE = {{replacing}}(keep)
PARTITION BY toDate(received_at)
ORDER BY (tenant, agent, epoch, seq)
TTL toDateTime(received_at) + INTERVAL {{event_days}} DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplication_window}};

-- The last word of every host, kept without end: a host that fell silent must not vanish from the list.
--@ block hosts
CREATE TABLE IF NOT EXISTS hosts
(
    tenant LowCardinality(String),
    agent String,
    epoch String,
    hostname String,
    os LowCardinality(String),
    kernel LowCardinality(String),
    architecture LowCardinality(String),
    agent_version LowCardinality(String),
    boot_id String,
    addresses Array(String),
    remote String,
    last_seen DateTime64(6, 'UTC'),
    stored_at DateTime64(6, 'UTC'),
    version UInt64 DEFAULT toUInt64(toUnixTimestamp64Micro(last_seen))
)
ENGINE = {{replacing}}(version)
ORDER BY (tenant, agent)
SETTINGS {{deduplication_window}};
