-- title: Errors
-- about: What failed, how often, where, and when last.
-- plot: operation error_type: errors
-- param hours: UInt32 = 24 -- The window, in hours before now.
-- param project: String = '' -- One project; all when empty.
SELECT
    operation,
    error_type,
    count() AS errors,
    round(errors / sum(errors) OVER (), 4) AS share,
    uniqExact(tenant_id, workflow_id) AS workflows,
    arraySort(groupUniqArray(3)(if(tool != '', tool, agent))) AS seen_at,
    max(occurred_at) AS last_seen
FROM v_events
WHERE status = 'error'
  AND occurred_at >= now() - toIntervalHour({hours:UInt32})
  AND ({project:String} = '' OR project_id = {project:String})
GROUP BY operation, error_type
ORDER BY errors DESC, operation, error_type
