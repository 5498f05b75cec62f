-- Hourly sums for trends: recomputed from events, never incremented, so that replays and late rows
-- leave no trace. What was answered from the journal was not paid again: no tokens, no cost.
CREATE TABLE IF NOT EXISTS {db}.rollup_1h {on_cluster}
(
    hour DateTime('UTC'),
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
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant_id, project_id, operation, hour, workflow_type, crew, task_type, agent, tool, model)
TTL hour + INTERVAL 3 YEAR;

-- Hours older than 80 days are left alone: the TTL of events has begun to empty them.
CREATE MATERIALIZED VIEW IF NOT EXISTS {db}.rollup_1h_refresh {on_cluster}
REFRESH EVERY 1 MINUTE APPEND TO {db}.rollup_1h AS
SELECT
    toDateTime(toStartOfHour(occurred_at), 'UTC') AS hour,
    tenant_id, project_id, operation, workflow_type, crew, task_type, agent, tool, model,
    count() AS finished,
    countIf(status = 'ok') AS ok,
    finished - ok AS failed,
    countIf(attempt > 1) AS retries,
    countIf(status = 'ok' AND attempt <= 1) AS first_try_ok,
    countIf(e.replayed) AS replayed,
    count(e.duration_ms) AS timed,
    sum(ifNull(e.duration_ms, 0)) AS duration_ms_sum,
    quantilesTDigestStateIf(0.5, 0.95, 0.99)(
        assumeNotNull(e.duration_ms), e.duration_ms IS NOT NULL) AS duration_ms,
    quantilesTDigestStateIf(0.5, 0.95, 0.99)(
        assumeNotNull(e.queue_ms), e.queue_ms IS NOT NULL) AS queue_ms,
    sumIf(e.input_tokens, NOT e.replayed) AS input_tokens,
    sumIf(e.output_tokens, NOT e.replayed) AS output_tokens,
    sumIf(e.cached_tokens, NOT e.replayed) AS cached_tokens,
    sumIf(toDecimal128(e.cost_usd, 9), NOT e.replayed) AS cost_usd,
    now64(3) AS computed_at
FROM {db}.events AS e FINAL
WHERE operation != 'resource'
  AND occurred_at >= now() - INTERVAL 80 DAY
  AND toStartOfHour(occurred_at) IN (
      SELECT DISTINCT toStartOfHour(occurred_at) FROM {db}.events
      WHERE _ingested_at >= now64(3) - INTERVAL 15 MINUTE)
GROUP BY hour, tenant_id, project_id, operation, workflow_type, crew, task_type, agent, tool, model;

CREATE VIEW IF NOT EXISTS {db}.v_rollup_1h {on_cluster} AS
SELECT * FROM {db}.rollup_1h FINAL;
