-- What version 3 of WorkflowState has more: what people answered a crew that asked.
-- A view keeps the columns that it was made with, so both are made again.
ALTER TABLE {db}.transitions {on_cluster}
    MODIFY COLUMN tasks Array(Tuple(
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
            llm_calls Int64, tool_calls Int64, cost_usd Decimal(18, 9)),
        journal_attempt Int32,
        repeat_unknown Bool,
        approval_timeout_s Float64,
        approval_default LowCardinality(String),
        concurrency_key String,
        answers Array(String)
    )) CODEC(ZSTD(1));

CREATE OR REPLACE VIEW {db}.v_transitions {on_cluster} AS
SELECT * FROM {db}.transitions FINAL;

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
FROM {db}.transitions
ORDER BY accepted_at DESC, version DESC
LIMIT 1 BY tenant_id, workflow_id;
