-- title: Dead letters
-- about: Records of a topic could not be used within the last day.
-- kind: recommendation
-- query: dead_letters
SELECT
    'warning' AS severity,
    '' AS tenant_id,
    '' AS project_id,
    topic AS subject,
    concat(toString(sum(letters)), ' records of ', topic, ' could not be used') AS about,
    'See them with `crewstream dlq list`, mend the producer, then replay or discard them.' AS action,
    map('letters', toString(sum(letters)), 'last_error', argMax(last_error, last_seen)) AS evidence
FROM {query:dead_letters}
GROUP BY topic
