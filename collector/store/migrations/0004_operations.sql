-- What could not be processed, who did what, and the control records: projections of their topics, which stay the truth.

--@ block dead_letters
CREATE TABLE IF NOT EXISTS dead_letters
(
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    record_index Int64 COMMENT '-1: the batch as a whole',
    code LowCardinality(String),
    reason String,
    ts DateTime64(6, 'UTC'),
    stored_at DateTime64(6, 'UTC'),
    tenant LowCardinality(String),
    key String,
    headers Map(LowCardinality(String), String),
    value String CODEC(ZSTD(3)),
    keep UInt64 DEFAULT 18446744073709551615 - toUInt64(toUnixTimestamp64Micro(stored_at))
)
ENGINE = {{replacing}}(keep)
PARTITION BY toYYYYMM(ts)
ORDER BY (topic, partition, offset, record_index, code, ts)
TTL toDateTime(ts) + INTERVAL {{event_days}} DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplication_window}};

--@ block audit
CREATE TABLE IF NOT EXISTS audit
(
    bus LowCardinality(String),
    offset Int64,
    ts DateTime64(6, 'UTC'),
    stored_at DateTime64(6, 'UTC'),
    document String CODEC(ZSTD(1)),
    keep UInt64 DEFAULT 18446744073709551615 - toUInt64(toUnixTimestamp64Micro(stored_at))
)
ENGINE = {{replacing}}(keep)
PARTITION BY toYYYYMM(ts)
ORDER BY (bus, offset, ts)
TTL toDateTime(ts) + INTERVAL {{alert_days}} DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplication_window}};

--@ block control
CREATE TABLE IF NOT EXISTS control
(
    bus LowCardinality(String),
    offset Int64,
    ts DateTime64(6, 'UTC'),
    stored_at DateTime64(6, 'UTC'),
    kind LowCardinality(String),
    by String,
    tenant LowCardinality(String),
    agent String,
    document String CODEC(ZSTD(1)),
    keep UInt64 DEFAULT 18446744073709551615 - toUInt64(toUnixTimestamp64Micro(stored_at))
)
ENGINE = {{replacing}}(keep)
ORDER BY (bus, offset)
SETTINGS {{deduplication_window}};
