-- title: Budget alerts
-- about: Budgets that came near their end, or to it, by account.
-- param hours: UInt32 = 168 -- The window, in hours before now.
-- param tenant: String = '' -- One tenant; all when empty.
SELECT
    attributes['account'] AS account,
    attributes['unit'] AS unit,
    attributes['level'] AS level,
    count() AS alerts,
    uniqExact(tenant_id, workflow_id) AS workflows,
    argMax(toFloat64OrNull(attributes['spent']), occurred_at) AS spent,
    argMax(toFloat64OrNull(attributes['limit']), occurred_at) AS most,
    round(spent / nullIf(most, 0), 4) AS used,
    max(occurred_at) AS last_seen
FROM v_events
WHERE operation = 'budget'
  AND occurred_at >= now() - toIntervalHour({hours:UInt32})
  AND ({tenant:String} = '' OR tenant_id = {tenant:String})
GROUP BY account, unit, level
ORDER BY used DESC, account, unit, level
