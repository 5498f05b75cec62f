-- title: Agents
-- about: Completion, first-try success, retries, speed, efficiency and cost per task of every agent.
-- plot: project_id agent: completion_rate first_try_rate efficiency
-- param hours: UInt32 = 24 -- The window, in hours before now.
-- param project: String = '' -- One project; all when empty.
-- Efficiency is the part of an agent's working time that ended in success.
SELECT
    project_id,
    agent,
    countIf(operation = 'task') AS attempts,
    round(countIf(operation = 'task' AND status = 'ok') / nullIf(attempts, 0), 4) AS completion_rate,
    round(countIf(operation = 'task' AND status = 'ok' AND attempt = 1)
          / nullIf(countIf(operation = 'task' AND attempt = 1), 0), 4) AS first_try_rate,
    round(countIf(operation = 'task' AND attempt > 1) / nullIf(attempts, 0), 4) AS retry_rate,
    round(avgIf(duration_ms, operation = 'task') / 1000, 3) AS mean_s,
    round(quantileIf(0.95)(duration_ms, operation = 'task') / 1000, 3) AS p95_s,
    round(sumIf(duration_ms, operation = 'task' AND status = 'ok')
          / nullIf(sumIf(duration_ms, operation = 'task'), 0), 4) AS efficiency,
    sumIf(cost_usd, operation = 'chat' AND NOT replayed) AS cost_usd,
    round(toFloat64(cost_usd) / nullIf(attempts, 0), 6) AS cost_per_task_usd,
    round(toFloat64(cost_usd) / nullIf(countIf(operation = 'task' AND status = 'ok'), 0), 6)
        AS cost_per_success_usd
FROM v_events
WHERE agent != ''
  AND operation IN ('task', 'chat')
  AND occurred_at >= now() - toIntervalHour({hours:UInt32})
  AND ({project:String} = '' OR project_id = {project:String})
GROUP BY project_id, agent
ORDER BY completion_rate DESC, project_id, agent
