-- title: Agents by kind of task
-- about: The same for every kind of task that an agent did: what is it good at, and what is it good for?
-- param hours: UInt32 = 24 -- The window, in hours before now.
-- param project: String = '' -- One project; all when empty.
-- Efficiency is the part of an agent's working time that ended in success.
SELECT
    project_id,
    task_type,
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
WHERE agent != '' AND task_type != ''
  AND operation IN ('task', 'chat')
  AND occurred_at >= now() - toIntervalHour({hours:UInt32})
  AND ({project:String} = '' OR project_id = {project:String})
GROUP BY project_id, task_type, agent
ORDER BY project_id, task_type, completion_rate DESC, agent
