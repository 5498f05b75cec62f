-- Records that could not be read, as they came; topic, partition and offset say where they first were.
CREATE TABLE IF NOT EXISTS {db}.dead_letters {on_cluster}
(
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    failed_at DateTime64(3, 'UTC'),
    error_type LowCardinality(String),
    error String CODEC(ZSTD(1)),
    schema_id Nullable(Int32),
    key String CODEC(ZSTD(1)),
    payload String CODEC(ZSTD(3)),
    _topic LowCardinality(String),
    _partition Int32,
    _offset Int64,
    _ingested_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = {engine:ReplacingMergeTree(_ingested_at)}
ORDER BY (topic, partition, offset)
TTL toDateTime(failed_at) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000,
         replicated_deduplication_window = 10000,
         replicated_deduplication_window_seconds = 604800;

CREATE VIEW IF NOT EXISTS {db}.v_dead_letters {on_cluster} AS
SELECT * FROM {db}.dead_letters FINAL;
