-- title: Tasks wait
-- about: More slots are needed: tasks wait for a worker, and the load explains it.
-- kind: recommendation
-- query: capacity
SELECT
    'warning' AS severity,
    '' AS tenant_id,
    project_id,
    'slots' AS subject,
    concat('One task in twenty waits ', toString(round(p95_wait_today_s)), ' s or longer for a worker') AS about,
    concat('Run ', toString(slots_needed), ' tasks at once: more workers, or CREWSTREAM_WORKER_RUNNERS.') AS action,
    map('p95_wait_s', toString(p95_wait_today_s), 'slots_needed', toString(slots_needed),
        'most_at_once', toString(most_at_once_today), 'expected_at_once', toString(expected_at_once)) AS evidence
FROM {query:capacity}
WHERE advice = 'add slots' AND project_id != '(all)'
