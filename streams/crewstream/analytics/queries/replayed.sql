-- title: Replayed calls
-- about: Calls that the journal answered after a crash or for a retry, so that they were not paid again.
-- plot: project_id called: calls replayed_calls
-- param hours: UInt32 = 24 -- The window, in hours before now.
-- param project: String = '' -- One project; all when empty.
-- A replayed call has no tokens of its own; what it saved is what the calls of its model cost on
-- average, where any was paid in the window.
SELECT
    project_id,
    operation,
    if(operation = 'chat', model, tool) AS called,
    countIf(NOT replayed) AS calls,
    countIf(replayed) AS replayed_calls,
    round(replayed_calls / count(), 4) AS replayed_share,
    uniqExactIf((tenant_id, workflow_id), replayed) AS workflows,
    round(replayed_calls * avgIf(input_tokens + output_tokens, NOT replayed)) AS tokens_not_paid,
    round(replayed_calls * avgIf(toFloat64(cost_usd), NOT replayed), 6) AS saved_usd
FROM v_events
WHERE operation IN ('chat', 'execute_tool')
  AND occurred_at >= now() - toIntervalHour({hours:UInt32})
  AND ({project:String} = '' OR project_id = {project:String})
GROUP BY project_id, operation, called
HAVING replayed_calls > 0
ORDER BY replayed_calls DESC, project_id, operation, called
