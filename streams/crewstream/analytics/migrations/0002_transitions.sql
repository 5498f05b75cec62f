-- Every state that a workflow was in: one row a record of workflow.state.
-- A Tuple must have exactly the fields of its Avro record, in their order: FORMAT Avro refuses any other.
-- accepted_at is in the key because a workflow_id may be used again when its row is gone.
CREATE TABLE IF NOT EXISTS {db}.transitions {on_cluster}
(
    workflow_id String CODEC(ZSTD(1)),
    tenant_id LowCardinality(String),
    project_id LowCardinality(String),
    workflow_type LowCardinality(String),
    version Int64,
    status LowCardinality(String),
    priority LowCardinality(String),
    coordination LowCardinality(String),
    failure_policy LowCardinality(String),
    requested_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    accepted_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    updated_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    ended_at Nullable(DateTime64(6, 'UTC')),
    deadline_at Nullable(DateTime64(6, 'UTC')),
    request_sha256 String CODEC(ZSTD(1)),
    traceparent String CODEC(ZSTD(1)),
    tasks Array(Tuple(
        task_id String,
        project_id String,
        crew String,
        task_type String,
        status LowCardinality(String),
        attempt Int32,
        max_attempts Int32,
        timeout_s Float64,
        requires_approval Bool,
        depends_on Array(String),
        agent String,
        assigned_at Nullable(DateTime64(6, 'UTC')),
        finished_at Nullable(DateTime64(6, 'UTC')),
        due_at Nullable(DateTime64(6, 'UTC')),
        failure Tuple(
            error_type String, message String, retryable Bool, retry_after_s Nullable(Float64)),
        usage Tuple(
            input_tokens Int64, output_tokens Int64, cached_tokens Int64,
            llm_calls Int64, tool_calls Int64, cost_usd Decimal(18, 9))
    )) CODEC(ZSTD(1)),
    faults Array(Tuple(code String, path String, message String)) CODEC(ZSTD(1)),
    failure Tuple(
        error_type String, message String, retryable Bool, retry_after_s Nullable(Float64)),
    usage Tuple(
        input_tokens Int64, output_tokens Int64, cached_tokens Int64,
        llm_calls Int64, tool_calls Int64, cost_usd Decimal(18, 9)),
    applied Array(String) CODEC(ZSTD(1)),
    notice String CODEC(ZSTD(1)),
    _topic LowCardinality(String),
    _partition Int32,
    _offset Int64 CODEC(Delta(8), ZSTD(1)),
    _ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta(8), ZSTD(1))
)
ENGINE = {engine:ReplacingMergeTree(_ingested_at)}
PARTITION BY toYYYYMM(accepted_at)
ORDER BY (tenant_id, project_id, workflow_id, accepted_at, version)
TTL toDateTime(updated_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000,
         replicated_deduplication_window = 10000,
         replicated_deduplication_window_seconds = 604800;

CREATE VIEW IF NOT EXISTS {db}.v_transitions {on_cluster} AS
SELECT * FROM {db}.transitions FINAL;

-- The latest state of each workflow, for listing and filtering.
CREATE VIEW IF NOT EXISTS {db}.workflows {on_cluster} AS
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
    tasks, faults, notice
FROM {db}.transitions
ORDER BY accepted_at DESC, version DESC
LIMIT 1 BY tenant_id, workflow_id;
