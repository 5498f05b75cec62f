-- title: Stuck workflows
-- about: Nothing was heard of running workflows for an hour.
-- kind: recommendation
-- query: stuck
-- param minutes: UInt32 = 60 -- How long is too long.
SELECT
    'warning' AS severity,
    tenant_id,
    project_id,
    'workflows' AS subject,
    concat(toString(count()), ' workflows stand still, the longest for ', toString(max(idle_minutes)),
           ' minutes') AS about,
    'See whether workers of the project run (`crewstream doctor`); cancel what nobody needs.' AS action,
    map('workflows', toString(count()), 'longest_minutes', toString(max(idle_minutes)),
        'first', argMax(workflow_id, idle_minutes)) AS evidence
FROM {query:stuck}
GROUP BY tenant_id, project_id
