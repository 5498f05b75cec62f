-- title: Many retries
-- about: A tenth of the attempts of an agent are retries, half as much again as in the week before.
-- kind: recommendation
-- query: agents
WITH sides AS (
    SELECT
        project_id, agent,
        sumIf(finished, hour >= now() - INTERVAL 1 DAY) AS attempts,
        sumIf(retries, hour >= now() - INTERVAL 1 DAY) / nullIf(attempts, 0) AS rate,
        sumIf(finished, hour < now() - INTERVAL 1 DAY) AS attempts_before,
        ifNull(sumIf(retries, hour < now() - INTERVAL 1 DAY) / nullIf(attempts_before, 0), 0)
            AS rate_before
    FROM v_rollup_1h
    WHERE operation = 'task' AND agent != '' AND hour >= now() - INTERVAL 8 DAY
    GROUP BY project_id, agent
)
SELECT
    if(rate >= 0.25, 'warning', 'info') AS severity,
    '' AS tenant_id,
    project_id,
    agent AS subject,
    concat(toString(round(100 * rate, 1)), ' % of the attempts of ', agent, ' are retries, ',
           toString(round(100 * rate_before, 1)), ' % in the week before') AS about,
    'See what first attempts fail of (`crewstream query errors`); a retry pays for its calls again.' AS action,
    map('attempts', toString(attempts), 'retry_rate', toString(round(rate, 4)),
        'retry_rate_before', toString(round(rate_before, 4))) AS evidence
FROM sides
WHERE attempts >= 20 AND rate >= 0.1 AND rate >= 1.5 * rate_before
