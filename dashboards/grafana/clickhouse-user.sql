-- A user for Grafana that reads the dashboards' tables and nothing else. Run it on your ClickHouse server as an administrator,
-- with a password of your own in the place of the mark; on a cluster add ON CLUSTER to each statement.
CREATE SETTINGS PROFILE IF NOT EXISTS beffroi_reader SETTINGS
    readonly = 1,
    -- The data source's client sets this one.
    max_execution_time = 30 CHANGEABLE_IN_READONLY,
    max_memory_usage = 4000000000,
    max_result_rows = 100000,
    max_rows_to_read = 2000000000;

CREATE USER IF NOT EXISTS beffroi_grafana IDENTIFIED WITH sha256_password BY '<password>' SETTINGS PROFILE 'beffroi_reader';

GRANT SELECT ON beffroi.hosts TO beffroi_grafana;
GRANT SELECT ON beffroi.heartbeats TO beffroi_grafana;
GRANT SELECT ON beffroi.gaps TO beffroi_grafana;
GRANT SELECT ON beffroi.ledger TO beffroi_grafana;
GRANT SELECT ON beffroi.matches TO beffroi_grafana;
-- Not the bytes of a dead letter: they are whole batches of a host.
GRANT SELECT(topic, partition, offset, record_index, code, reason, ts, stored_at, tenant, key, keep) ON beffroi.dead_letters TO beffroi_grafana;
-- ClickHouse shows in it only parts of tables that this user may read.
GRANT SELECT ON system.parts TO beffroi_grafana;

-- One tenant only: name it in a policy for each table that has a tenant, and give that tenant's team its own user.
-- CREATE ROW POLICY grafana_<tenant> ON beffroi.matches FOR SELECT USING tenant = '<tenant>' TO beffroi_grafana_<tenant>;
