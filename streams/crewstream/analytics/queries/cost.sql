-- title: Cost
-- about: Tokens and money by tenant, project and model, each one's share, and what a success cost.
-- plot: tenant_id project_id model: cost_usd
-- param days: UInt32 = 30 -- Days before today (UTC), which is there up to the last minute.
-- param tenant: String = '' -- One tenant; all when empty.
-- A task that succeeded counts for each model of its project, so that their costs add up.
WITH sums AS (
    SELECT
        tenant_id, project_id, operation, model,
        sum(finished) AS finished,
        sum(ok) AS succeeded,
        sum(replayed) AS replayed_calls,
        sum(r.input_tokens) AS input_tokens,
        sum(r.output_tokens) AS output_tokens,
        sum(r.cost_usd) AS cost_usd
    FROM v_rollup_1d AS r
    WHERE operation IN ('chat', 'task')
      AND day >= toDate(now('UTC')) - toIntervalDay({days:UInt32})
      AND ({tenant:String} = '' OR tenant_id = {tenant:String})
    GROUP BY tenant_id, project_id, operation, model
),
successes AS (
    SELECT tenant_id, project_id, sum(succeeded) AS succeeded_tasks
    FROM sums WHERE operation = 'task' GROUP BY tenant_id, project_id
)
SELECT
    tenant_id,
    project_id,
    model,
    finished - replayed_calls AS calls,
    replayed_calls,
    input_tokens,
    output_tokens,
    cost_usd,
    round(toFloat64(cost_usd) / nullIf(sum(toFloat64(cost_usd)) OVER (), 0), 4) AS share,
    succeeded_tasks,
    round(toFloat64(cost_usd) / nullIf(succeeded_tasks, 0), 6) AS cost_per_success_usd
FROM sums
LEFT JOIN successes USING (tenant_id, project_id)
WHERE operation = 'chat'
ORDER BY cost_usd DESC, tenant_id, project_id, model
