-- title: Budgets
-- about: What workflows with a budget have used of it so far, the nearest to its end first.
-- param hours: UInt32 = 24 -- Workflows of which something was heard within so many hours before now.
-- param limit: UInt32 = 20 -- How many.
-- param tenant: String = '' -- One tenant; all when empty.
SELECT
    workflow_id, tenant_id, project_id, status,
    input_tokens + output_tokens AS tokens,
    max_tokens,
    round(tokens / nullIf(max_tokens, 0), 4) AS tokens_share,
    cost_usd,
    max_cost_usd,
    round(toFloat64(cost_usd) / nullIf(toFloat64(max_cost_usd), 0), 4) AS cost_share,
    greatest(ifNull(tokens_share, 0), ifNull(cost_share, 0)) AS used
FROM workflows
WHERE (max_tokens > 0 OR max_cost_usd > 0)
  AND updated_at >= now() - toIntervalHour({hours:UInt32})
  AND ({tenant:String} = '' OR tenant_id = {tenant:String})
ORDER BY used DESC, workflow_id
LIMIT {limit:UInt32}
