-- Every measurement: one wide table. A replayed record brings the same event_id, and FINAL shows it once.
-- Numbers are signed as in Avro: FORMAT Avro turns a negative into a huge unsigned number without a word.
CREATE DATABASE IF NOT EXISTS {db} {on_cluster};

CREATE TABLE IF NOT EXISTS {db}.events {on_cluster}
(
    event_id UUID,
    occurred_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    tenant_id LowCardinality(String),
    project_id LowCardinality(String),
    workflow_id String CODEC(ZSTD(1)),
    task_id String CODEC(ZSTD(1)),
    assignment_id String CODEC(ZSTD(1)),
    attempt Int32,
    operation LowCardinality(String),
    status LowCardinality(String),
    error_type LowCardinality(String),
    workflow_type LowCardinality(String),
    crew LowCardinality(String),
    task_type LowCardinality(String),
    agent LowCardinality(String),
    tool LowCardinality(String),
    priority LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    offline Bool,
    replayed Bool,
    queue_ms Nullable(Float64),
    duration_ms Nullable(Float64),
    input_tokens Int64 CODEC(T64, ZSTD(1)),
    output_tokens Int64 CODEC(T64, ZSTD(1)),
    cached_tokens Int64 CODEC(T64, ZSTD(1)),
    cost_usd Decimal(18, 9),
    cpu_ratio Nullable(Float64),
    memory_bytes Nullable(Int64),
    worker LowCardinality(String),
    trace_id String CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    _topic LowCardinality(String),
    _partition Int32,
    _offset Int64 CODEC(Delta(8), ZSTD(1)),
    _ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta(8), ZSTD(1)),
    INDEX by_workflow workflow_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_ingestion _ingested_at TYPE minmax GRANULARITY 1
)
ENGINE = {engine:ReplacingMergeTree(_ingested_at)}
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (tenant_id, project_id, operation, toStartOfHour(occurred_at), event_id)
TTL toDateTime(occurred_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000,
         replicated_deduplication_window = 10000,
         replicated_deduplication_window_seconds = 604800;

CREATE VIEW IF NOT EXISTS {db}.v_events {on_cluster} AS
SELECT * FROM {db}.events FINAL;
