-- title: Retry storms
-- about: Times in which many tasks were tried again at once, what they failed of, and what it cost.
-- plot: since project_id: attempts retries
-- param hours: UInt32 = 24 -- The window, in hours before now.
-- param minutes: UInt32 = 10 -- Length of a time that is counted together.
-- param at_least: UInt32 = 10 -- Retries in it that make a storm.
-- param share: Float64 = 0.3 -- Part of all attempts that retries have at least.
WITH told AS (
    SELECT
        toStartOfInterval(occurred_at, toIntervalMinute({minutes:UInt32})) AS since,
        project_id,
        countIf(operation = 'task') AS attempts,
        countIf(operation = 'task' AND attempt > 1) AS retries,
        uniqExactIf((tenant_id, workflow_id), operation = 'task' AND attempt > 1) AS workflows,
        arraySort(groupUniqArrayIf(5)(error_type, operation = 'task' AND status = 'error'))
            AS error_types,
        sumIf(e.cost_usd, operation = 'chat' AND attempt > 1 AND NOT replayed) AS cost_usd
    FROM v_events AS e
    WHERE operation IN ('task', 'chat')
      AND occurred_at >= now() - toIntervalHour({hours:UInt32})
    GROUP BY since, project_id
)
SELECT since, project_id, attempts, retries, round(retries / attempts, 4) AS retry_share,
       workflows, error_types, cost_usd
FROM told
WHERE retries >= {at_least:UInt32} AND retries >= {share:Float64} * attempts
ORDER BY since DESC, project_id
