-- title: Retry storm
-- about: Many tasks are being tried again at once.
-- kind: anomaly
-- query: retry_storms
-- param hours: UInt32 = 1 -- The last hour.
SELECT
    'critical' AS severity,
    '' AS tenant_id,
    project_id,
    'retries' AS subject,
    concat(toString(sum(retries)), ' retries among ', toString(sum(attempts)), ' attempts within the hour')
        AS about,
    'Pause what comes in or mend what it fails of: every retry pays for its calls again.' AS action,
    map('attempts', toString(sum(attempts)), 'retries', toString(sum(retries)),
        'error_types', arrayStringConcat(arraySort(groupUniqArrayArray(error_types)), ' ')) AS evidence
FROM {query:retry_storms}
GROUP BY project_id
