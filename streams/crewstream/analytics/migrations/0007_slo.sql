-- What is promised: service level objectives. A row replaces the one of the same name, the defaults
-- below included; `active = false` switches one off. Empty tenant_id or project_id: all of them.
CREATE TABLE IF NOT EXISTS {db}.slo {on_cluster}
(
    name String,
    tenant_id String DEFAULT '',
    project_id String DEFAULT '',
    metric LowCardinality(String) DEFAULT 'task_success',
    objective Float64 DEFAULT 0.99,
    threshold_ms Float64 DEFAULT 0,
    window_days UInt16 DEFAULT 28,
    active Bool DEFAULT true,
    updated_at DateTime64(3, 'UTC') DEFAULT now64(3),
    CONSTRAINT known_metric CHECK metric IN (
        'task_success', 'task_latency', 'task_queue', 'workflow_success', 'workflow_latency'),
    CONSTRAINT room_for_errors CHECK objective > 0 AND objective < 1,
    CONSTRAINT some_window CHECK window_days BETWEEN 1 AND 80
)
ENGINE = {engine:ReplacingMergeTree(updated_at)}
ORDER BY name;

CREATE OR REPLACE VIEW {db}.v_slo {on_cluster} AS
WITH defaults AS (
    SELECT *
    FROM values(
        'name String, tenant_id String, project_id String, metric String, objective Float64,
         threshold_ms Float64, window_days UInt16, active Bool',
        ('workflows-complete', '', '', 'workflow_success', 0.99, 0, 28, true),
        ('tasks-succeed', '', '', 'task_success', 0.95, 0, 28, true),
        ('tasks-start-soon', '', '', 'task_queue', 0.95, 60000, 28, true))
)
SELECT name, tenant_id, project_id, metric, objective, threshold_ms, window_days, active
FROM {db}.slo FINAL
UNION ALL
SELECT * FROM defaults WHERE name NOT IN (SELECT name FROM {db}.slo FINAL);
