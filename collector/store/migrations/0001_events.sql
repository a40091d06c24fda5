-- Events, one row each. The key is the event's identity, and `content` is in it: the same event sent again is one row,
-- another content under the same identity stands apart. Of equal rows the one stored first is kept (`keep`).
-- Partition and life follow the gateway's clock (`received_at`): an agent's clock of 1970 or 2090 can neither
-- open partitions nor expire rows.
-- Text that is absent is empty; numbers that are absent are NULL (user id 0 is not "no user id").

--@ block events
CREATE TABLE IF NOT EXISTS events
(
    tenant LowCardinality(String),
    category LowCardinality(String),
    product LowCardinality(String),
    service LowCardinality(String),
    agent LowCardinality(String),
    epoch LowCardinality(String),
    stream UInt8,
    seq UInt64 CODEC(Delta(8), ZSTD(1)),
    content UInt64,
    retention LowCardinality(String),
    ts DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    received_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    stored_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    host LowCardinality(String),
    clock_suspect Bool,
    replayed Bool,
    Image String CODEC(ZSTD(1)),
    CommandLine String CODEC(ZSTD(1)),
    ParentImage String CODEC(ZSTD(1)),
    ParentCommandLine String CODEC(ZSTD(1)),
    User LowCardinality(String),
    CurrentDirectory String CODEC(ZSTD(1)),
    LogonId Nullable(UInt64) CODEC(ZSTD(1)),
    ProcessId Nullable(UInt64) CODEC(ZSTD(1)),
    ParentProcessId Nullable(UInt64) CODEC(ZSTD(1)),
    ProcessGuid String CODEC(ZSTD(1)),
    ParentProcessGuid String CODEC(ZSTD(1)),
    TargetFilename String CODEC(ZSTD(1)),
    SourceFilename String CODEC(ZSTD(1)),
    DestinationIp String CODEC(ZSTD(1)),
    DestinationPort Nullable(UInt64) CODEC(ZSTD(1)),
    DestinationHostname String CODEC(ZSTD(1)),
    SourceIp String CODEC(ZSTD(1)),
    SourcePort Nullable(UInt64) CODEC(ZSTD(1)),
    Initiated Nullable(Bool) CODEC(ZSTD(1)),
    Protocol LowCardinality(String),
    QueryName String CODEC(ZSTD(1)),
    QueryResults String CODEC(ZSTD(1)),
    Hashes String CODEC(ZSTD(1)),
    argv Array(String) CODEC(ZSTD(1)),
    ContainerId String CODEC(ZSTD(1)),
    ExecSeq Nullable(UInt64) CODEC(ZSTD(1)),
    LoginUser LowCardinality(String),
    Uid Nullable(UInt64) CODEC(ZSTD(1)),
    Gid Nullable(UInt64) CODEC(ZSTD(1)),
    Euid Nullable(UInt64) CODEC(ZSTD(1)),
    LoginUid Nullable(UInt64) CODEC(ZSTD(1)),
    Signature String CODEC(ZSTD(1)),
    Filename String CODEC(ZSTD(1)),
    message String CODEC(ZSTD(1)),
    ExitCode Nullable(Int64) CODEC(ZSTD(1)),
    DurationUs Nullable(UInt64) CODEC(ZSTD(1)),
    ExecPath String CODEC(ZSTD(1)),
    AncestorGuids Array(String) CODEC(ZSTD(1)),
    AncestorImages Array(String) CODEC(ZSTD(1)),
    AncestorCommandLines Array(String) CODEC(ZSTD(1)),
    Redacted Nullable(Bool) CODEC(ZSTD(1)),
    Truncated Nullable(Bool) CODEC(ZSTD(1)),
    Action LowCardinality(String),
    sha256 String CODEC(ZSTD(1)),
    comm LowCardinality(String),
    extra Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    keep UInt64 DEFAULT 18446744073709551615 - toUInt64(toUnixTimestamp64Micro(stored_at)) CODEC(Delta(8), ZSTD(1)),
    INDEX ix_image lower(Image) TYPE bloom_filter(0.01) GRANULARITY 2,
    INDEX ix_target lower(TargetFilename) TYPE bloom_filter(0.01) GRANULARITY 2,
    INDEX ix_guid ProcessGuid TYPE bloom_filter(0.01) GRANULARITY 2,
    INDEX ix_parent_guid ParentProcessGuid TYPE bloom_filter(0.01) GRANULARITY 2,
    INDEX ix_sha256 sha256 TYPE bloom_filter(0.001) GRANULARITY 2,
    INDEX ix_destination DestinationIp TYPE bloom_filter(0.01) GRANULARITY 2,
    INDEX ix_ts ts TYPE minmax GRANULARITY 1
)
ENGINE = {{replacing}}(keep)
PARTITION BY (retention, toDate(received_at))
PRIMARY KEY (tenant, category, agent, ts)
ORDER BY (tenant, category, agent, ts, epoch, stream, seq, content)
TTL toDateTime(received_at) + INTERVAL {{event_days}} DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplication_window}};

-- What analysts and dashboards read: every event once.
--@ block events_v
CREATE VIEW IF NOT EXISTS events_v AS
SELECT *, concat(agent, '-', epoch, '-', toString(stream), '-', toString(seq)) AS event_id
FROM events FINAL;

-- Substring search over command lines. Text indexes are general since ClickHouse 26.2; an older server goes without.
--@ block optional command_line_index
ALTER TABLE events ADD INDEX IF NOT EXISTS ix_command_line lower(CommandLine) TYPE text(tokenizer = ngrams(3));
