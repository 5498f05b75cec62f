-- title: Success dropped
-- about: An agent fails clearly more of its tasks today than in the week before.
-- kind: recommendation
-- query: agents
-- Two-proportion z-test; at least twenty attempts on both sides.
WITH sides AS (
    SELECT
        project_id, agent,
        sumIf(finished, hour >= now() - INTERVAL 1 DAY) AS attempts,
        sumIf(ok, hour >= now() - INTERVAL 1 DAY) / nullIf(attempts, 0) AS rate,
        sumIf(finished, hour < now() - INTERVAL 1 DAY) AS attempts_before,
        sumIf(ok, hour < now() - INTERVAL 1 DAY) / nullIf(attempts_before, 0) AS rate_before,
        sum(ok) / sum(finished) AS pooled,
        (rate_before - rate) / nullIf(sqrt(pooled * (1 - pooled) * (1 / attempts + 1 / attempts_before)), 0)
            AS z
    FROM v_rollup_1h
    WHERE operation = 'task' AND agent != '' AND hour >= now() - INTERVAL 8 DAY
    GROUP BY project_id, agent
)
SELECT
    if(rate < 0.5, 'critical', 'warning') AS severity,
    '' AS tenant_id,
    project_id,
    agent AS subject,
    concat(agent, ' completes ', toString(round(100 * rate, 1)), ' % of its tasks, ',
           toString(round(100 * rate_before, 1)), ' % in the week before') AS about,
    'See what it fails of (`crewstream query errors`), and what changed: model, prompt, tools.' AS action,
    map('attempts', toString(attempts), 'success_rate', toString(round(rate, 4)),
        'success_rate_before', toString(round(rate_before, 4)), 'z', toString(round(z, 2))) AS evidence
FROM sides
WHERE attempts >= 20 AND attempts_before >= 20 AND z > 3 AND rate_before - rate >= 0.05
