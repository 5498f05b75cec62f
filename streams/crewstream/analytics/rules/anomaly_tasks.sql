-- title: Unusual tasks
-- about: The last whole hours of a project do not fit its daily rhythm.
-- kind: anomaly
-- query: anomalies
-- param metric: String = 'tasks' -- What is looked at.
SELECT
    'info' AS severity,
    '' AS tenant_id,
    project_id,
    metric AS subject,
    concat('tasks of ', project_id, ': ', toString(round(argMax(actual, hour), 3)), ', expected ',
           toString(round(argMax(expected, hour), 3))) AS about,
    'See what asks for more, or what stopped asking (`crewstream query workflows`).' AS action,
    map('hour', toString(max(hour)), 'actual', toString(argMax(actual, hour)),
        'expected', toString(argMax(expected, hour)), 'score', toString(argMax(score, hour))) AS evidence
FROM {query:anomalies}
WHERE hour >= toStartOfHour(now('UTC')) - INTERVAL 2 HOUR
GROUP BY project_id, metric
