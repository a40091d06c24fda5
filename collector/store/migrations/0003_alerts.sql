-- Matches, one row each however often they are delivered, and the alerts that they make.

--@ block matches
CREATE TABLE IF NOT EXISTS matches
(
    tenant LowCardinality(String),
    alert_id String,
    match_id String,
    group_key String,
    bucket DateTime64(6, 'UTC'),
    agent LowCardinality(String),
    host LowCardinality(String),
    level UInt8 COMMENT '1 informational, 2 low, 3 medium, 4 high, 5 critical',
    rule_id LowCardinality(String),
    rule_title LowCardinality(String),
    rule_version LowCardinality(String),
    rule_sha256 LowCardinality(String),
    attack Array(LowCardinality(String)),
    category LowCardinality(String),
    event_time DateTime64(6, 'UTC'),
    received_at DateTime64(6, 'UTC'),
    detected_at DateTime64(6, 'UTC'),
    stored_at DateTime64(6, 'UTC'),
    clock_suspect Bool,
    replayed Bool,
    user String,
    login_user String,
    image String,
    command_line String CODEC(ZSTD(1)),
    what String CODEC(ZSTD(1)),
    process_guid String,
    event_ids Array(String),
    document String CODEC(ZSTD(3)),
    keep UInt64 DEFAULT 18446744073709551615 - toUInt64(toUnixTimestamp64Micro(stored_at)),
    INDEX ix_received received_at TYPE minmax GRANULARITY 1,
    INDEX ix_stored stored_at TYPE minmax GRANULARITY 1
)
ENGINE = {{replacing}}(keep)
PARTITION BY toYYYYMM(received_at)
ORDER BY (tenant, alert_id, match_id)
TTL toDateTime(received_at) + INTERVAL {{alert_days}} DAY
SETTINGS ttl_only_drop_parts = 1, {{deduplication_window}};

-- What an analyst sees: the matches of one group in one time bucket.
--@ block alerts
CREATE VIEW IF NOT EXISTS alerts AS
SELECT
    tenant, alert_id,
    any(group_key) AS group_key,
    max(level) AS level,
    argMax(rule_id, m.event_time) AS rule_id,
    argMax(rule_title, m.event_time) AS rule_title,
    argMax(host, m.event_time) AS host,
    argMax(agent, m.event_time) AS agent,
    argMax(user, m.event_time) AS user,
    argMax(what, m.event_time) AS what,
    uniqExact(match_id) AS count,
    min(m.event_time) AS first_seen,
    max(m.event_time) AS last_seen,
    max(m.received_at) AS received_at,
    max(m.detected_at) AS detected_at,
    min(m.stored_at) AS stored_at,
    max(m.stored_at) AS changed_at,
    min(replayed) AS replayed
FROM matches AS m FINAL
GROUP BY tenant, alert_id;
