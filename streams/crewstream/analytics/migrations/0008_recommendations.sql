-- What the record advises: one row for each piece of advice, from when it was first given until it
-- is resolved. The same finding keeps its id, so computing it again changes the row, and adds none.
CREATE TABLE IF NOT EXISTS {db}.recommendations {on_cluster}
(
    advice_id UUID,
    rule LowCardinality(String),
    kind LowCardinality(String),
    severity LowCardinality(String),
    status LowCardinality(String),
    tenant_id LowCardinality(String),
    project_id LowCardinality(String),
    subject String,
    about String CODEC(ZSTD(1)),
    action String CODEC(ZSTD(1)),
    evidence Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    query String CODEC(ZSTD(1)),
    opened_at DateTime64(3, 'UTC'),
    updated_at DateTime64(3, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree(updated_at)}
ORDER BY advice_id
TTL toDateTime(updated_at) + INTERVAL 1 YEAR;

CREATE VIEW IF NOT EXISTS {db}.v_recommendations {on_cluster} AS
SELECT * FROM {db}.recommendations FINAL;
