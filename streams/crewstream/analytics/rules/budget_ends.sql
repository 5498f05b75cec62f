-- title: Budget ends
-- about: A budget is nearly used up, or is.
-- kind: recommendation
-- query: budget_alerts
-- param hours: UInt32 = 24 -- The last day.
SELECT
    if(countIf(level = 'hard') > 0, 'critical', 'warning') AS severity,
    '' AS tenant_id,
    '' AS project_id,
    concat(account, ' ', unit) AS subject,
    concat(toString(round(100 * max(used))), ' % of the budget of ', account, ' (', unit, ') is used') AS about,
    'Raise it with `crewstream budget set`, or let runs stop at their limit.' AS action,
    map('spent', toString(argMax(spent, last_seen)), 'limit', toString(argMax(most, last_seen))) AS evidence
FROM {query:budget_alerts}
GROUP BY account, unit
