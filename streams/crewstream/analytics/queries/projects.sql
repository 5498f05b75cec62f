-- title: Projects
-- about: Tasks, success, duration, tokens and cost by project and agent.
-- plot: project_id agent: tasks
-- param hours: UInt32 = 24 -- The window, in hours before now.
-- param tenant: String = '' -- One tenant; all when empty.
-- A task is counted where its last attempt ended; tokens and cost are those of every attempt.
SELECT
    project_id,
    agent,
    uniqExactIf((tenant_id, workflow_id, task_id), operation = 'task') AS tasks,
    round(uniqExactIf((tenant_id, workflow_id, task_id), operation = 'task' AND status = 'ok')
          / nullIf(tasks, 0), 4) AS success_rate,
    round(avgIf(duration_ms, operation = 'task') / 1000, 3) AS mean_s,
    sumIf(input_tokens, operation = 'chat' AND NOT replayed) AS input_tokens,
    sumIf(output_tokens, operation = 'chat' AND NOT replayed) AS output_tokens,
    sumIf(cost_usd, operation = 'chat' AND NOT replayed) AS cost_usd
FROM v_events
WHERE operation IN ('task', 'chat')
  AND occurred_at >= now() - toIntervalHour({hours:UInt32})
  AND ({tenant:String} = '' OR tenant_id = {tenant:String})
GROUP BY project_id, agent
ORDER BY project_id, agent
