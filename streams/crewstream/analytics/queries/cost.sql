-- title: Cost
-- about: Tokens and money by tenant, project and model, and each one's share.
-- param days: UInt32 = 30 -- The window, in days before now.
-- param tenant: String = '' -- One tenant; all when empty.
SELECT
    tenant_id,
    project_id,
    model,
    countIf(NOT replayed) AS calls,
    countIf(replayed) AS replayed_calls,
    sumIf(input_tokens, NOT replayed) AS input_tokens,
    sumIf(output_tokens, NOT replayed) AS output_tokens,
    sumIf(e.cost_usd, NOT replayed) AS cost_usd,
    round(toFloat64(cost_usd) / nullIf(sum(toFloat64(cost_usd)) OVER (), 0), 4) AS share
FROM v_events AS e
WHERE operation = 'chat'
  AND occurred_at >= now() - toIntervalDay({days:UInt32})
  AND ({tenant:String} = '' OR tenant_id = {tenant:String})
GROUP BY tenant_id, project_id, model
ORDER BY cost_usd DESC, tenant_id, project_id, model
