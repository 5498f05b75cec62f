-- title: Tool fails
-- about: A tenth of the calls of a tool fail.
-- kind: recommendation
-- query: tools
SELECT
    if(rate >= 0.5, 'critical', 'warning') AS severity,
    '' AS tenant_id,
    project_id,
    tool AS subject,
    concat(toString(round(100 * rate, 1)), ' % of the calls of ', tool, ' fail') AS about,
    'Agents go on without what it would have told them: see its errors, or take it from the crew.' AS action,
    map('calls', toString(calls), 'error_rate', toString(round(rate, 4))) AS evidence
FROM (
    SELECT project_id, tool, sum(finished - replayed) AS calls, sum(failed) / calls AS rate
    FROM v_rollup_1h
    WHERE operation = 'execute_tool' AND hour >= now() - INTERVAL 1 DAY
    GROUP BY project_id, tool
    HAVING calls >= 20 AND rate >= 0.1
)
