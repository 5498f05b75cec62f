-- Laid out for the common questions, which are about the last hours: events a partition a day, sums
-- with the hour first, and the latest state of each workflow as rows of their own.
CREATE TABLE IF NOT EXISTS {db}.events_relaid {on_cluster} AS {db}.events
ENGINE = {engine:ReplacingMergeTree(_ingested_at)}
PARTITION BY toYYYYMMDD(occurred_at)
ORDER BY (tenant_id, project_id, operation, toStartOfHour(occurred_at), event_id)
TTL toDateTime(occurred_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000,
         replicated_deduplication_window = 10000,
         replicated_deduplication_window_seconds = 604800;

-- unless: SELECT name, name FROM system.tables WHERE '{db}' = concat('`', database, '`') AND name = 'events' AND partition_key LIKE 'toYYYYMMDD%'
EXCHANGE TABLES {db}.events AND {db}.events_relaid {on_cluster};

-- After the exchange: a recorder that writes meanwhile writes into the new one.
INSERT INTO {db}.events SELECT * FROM {db}.events_relaid
SETTINGS max_partitions_per_insert_block = 0;

DROP TABLE IF EXISTS {db}.events_relaid {on_cluster};

CREATE TABLE IF NOT EXISTS {db}.rollup_1h_relaid {on_cluster} AS {db}.rollup_1h
ENGINE = {engine:ReplacingMergeTree(computed_at)}
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, tenant_id, project_id, operation, workflow_type, crew, task_type, agent, tool, model)
TTL hour + INTERVAL 3 YEAR;

-- unless: SELECT name, name FROM system.tables WHERE '{db}' = concat('`', database, '`') AND name = 'rollup_1h' AND sorting_key LIKE 'hour%'
EXCHANGE TABLES {db}.rollup_1h AND {db}.rollup_1h_relaid {on_cluster};

INSERT INTO {db}.rollup_1h SELECT * FROM {db}.rollup_1h_relaid
SETTINGS max_partitions_per_insert_block = 0;

DROP TABLE IF EXISTS {db}.rollup_1h_relaid {on_cluster};

-- The sums of whole days, for questions about weeks: made of the hours that were computed anew.
CREATE TABLE IF NOT EXISTS {db}.rollup_1d {on_cluster}
(
    day Date,
    tenant_id LowCardinality(String),
    project_id LowCardinality(String),
    operation LowCardinality(String),
    workflow_type LowCardinality(String),
    crew LowCardinality(String),
    task_type LowCardinality(String),
    agent LowCardinality(String),
    tool LowCardinality(String),
    model LowCardinality(String),
    finished UInt64,
    ok UInt64,
    failed UInt64,
    retries UInt64,
    first_try_ok UInt64,
    replayed UInt64,
    timed UInt64,
    duration_ms_sum Float64,
    duration_ms AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), Float64),
    queue_ms AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), Float64),
    input_tokens Int64,
    output_tokens Int64,
    cached_tokens Int64,
    cost_usd Decimal(38, 9),
    computed_at DateTime64(3, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree(computed_at)}
PARTITION BY toYYYYMM(day)
ORDER BY (day, tenant_id, project_id, operation, workflow_type, crew, task_type, agent, tool, model)
TTL day + INTERVAL 3 YEAR;

CREATE MATERIALIZED VIEW IF NOT EXISTS {db}.rollup_1d_refresh {on_cluster}
REFRESH EVERY 5 MINUTE APPEND TO {db}.rollup_1d AS
SELECT
    toDate(r.hour, 'UTC') AS day,
    tenant_id, project_id, operation, workflow_type, crew, task_type, agent, tool, model,
    sum(r.finished) AS finished,
    sum(r.ok) AS ok,
    sum(r.failed) AS failed,
    sum(r.retries) AS retries,
    sum(r.first_try_ok) AS first_try_ok,
    sum(r.replayed) AS replayed,
    sum(r.timed) AS timed,
    sum(r.duration_ms_sum) AS duration_ms_sum,
    quantilesTDigestMergeState(0.5, 0.95, 0.99)(r.duration_ms) AS duration_ms,
    quantilesTDigestMergeState(0.5, 0.95, 0.99)(r.queue_ms) AS queue_ms,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cached_tokens) AS cached_tokens,
    sum(r.cost_usd) AS cost_usd,
    now64(3) AS computed_at
FROM {db}.rollup_1h AS r FINAL
WHERE toDate(r.hour, 'UTC') IN (
    SELECT DISTINCT toDate(hour, 'UTC') FROM {db}.rollup_1h
    WHERE computed_at >= now64(3) - INTERVAL 30 MINUTE)
GROUP BY day, tenant_id, project_id, operation, workflow_type, crew, task_type, agent, tool, model;

-- Today is not over: its hours stand for it, so that it is no further behind than they are.
CREATE VIEW IF NOT EXISTS {db}.v_rollup_1d {on_cluster} AS
SELECT * FROM {db}.rollup_1d FINAL WHERE day < toDate(now('UTC'))
UNION ALL
SELECT
    toDate(hour, 'UTC') AS day,
    tenant_id, project_id, operation, workflow_type, crew, task_type, agent, tool, model,
    finished, ok, failed, retries, first_try_ok, replayed, timed, duration_ms_sum, duration_ms,
    queue_ms, input_tokens, output_tokens, cached_tokens, cost_usd, computed_at
FROM {db}.rollup_1h FINAL WHERE hour >= toStartOfDay(now('UTC'));

-- Only the last state of each: listing does not sort every transition. What transitions gains, this
-- table and its feed must gain too; a contract test compares them. An id may be used again when its
-- row is gone, so the later acceptance wins before the higher version. Small granules: rows are wide,
-- and a few of them are looked up by their key.
CREATE TABLE IF NOT EXISTS {db}.workflow_latest {on_cluster}
ENGINE = {engine:ReplacingMergeTree(_order)}
ORDER BY (tenant_id, workflow_id)
TTL toDateTime(updated_at) + INTERVAL 90 DAY
SETTINGS index_granularity = 512
EMPTY AS
SELECT *, toUInt64(toUnixTimestamp64Milli(accepted_at)) * 65536 + toUInt64(least(version, 65535)) AS _order
FROM {db}.transitions;

CREATE MATERIALIZED VIEW IF NOT EXISTS {db}.workflow_latest_feed {on_cluster} TO {db}.workflow_latest AS
SELECT *, toUInt64(toUnixTimestamp64Milli(accepted_at)) * 65536 + toUInt64(least(version, 65535)) AS _order
FROM {db}.transitions;

INSERT INTO {db}.workflow_latest
SELECT *, toUInt64(toUnixTimestamp64Milli(accepted_at)) * 65536 + toUInt64(least(version, 65535)) AS _order
FROM {db}.transitions
SETTINGS max_partitions_per_insert_block = 0;

CREATE OR REPLACE VIEW {db}.workflows {on_cluster} AS
SELECT
    workflow_id, tenant_id, project_id, workflow_type, status, priority, version,
    requested_at, accepted_at, updated_at, ended_at, deadline_at,
    dateDiff('microsecond', accepted_at, ifNull(ended_at, updated_at)) / 1000000 AS duration_s,
    length(tasks) AS tasks_total,
    countEqual(tasks.status, 'succeeded') AS tasks_succeeded,
    countEqual(tasks.status, 'failed') AS tasks_failed,
    failure.error_type AS error_type,
    failure.message AS error_message,
    length(faults) AS fault_count,
    usage.input_tokens AS input_tokens,
    usage.output_tokens AS output_tokens,
    usage.cost_usd AS cost_usd,
    tasks, faults, notice,
    after, after_due_at, not_before, admission, max_tokens, max_cost_usd
FROM {db}.workflow_latest FINAL;
