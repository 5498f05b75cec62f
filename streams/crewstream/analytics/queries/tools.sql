-- title: Tools
-- about: How often each tool was called, how it ended, what the cache answered and how long it took.
-- param hours: UInt32 = 24 -- The window, in hours before now.
-- param project: String = '' -- One project; all when empty.
WITH NOT replayed AND attributes['cache'] != 'hit' AS made
SELECT
    project_id,
    tool,
    count() AS calls,
    round(countIf(status = 'ok') / calls, 4) AS success_rate,
    countIf(replayed) AS replayed_calls,
    countIf(error_type = 'tool.not_allowed' AND NOT replayed) AS refused_calls,
    countIf(attributes['cache'] = 'hit') AS cache_hits,
    round(cache_hits / nullIf(countIf(attributes['cache'] IN ('hit', 'miss')), 0), 4) AS hit_rate,
    round(ifNotFinite(avgIf(duration_ms, made), 0), 3) AS mean_ms,
    round(ifNotFinite(quantileIf(0.95)(duration_ms, made), 0), 3) AS p95_ms,
    arraySort(groupUniqArray(3)(agent)) AS agents
FROM v_events
WHERE operation = 'execute_tool'
  AND occurred_at >= now() - toIntervalHour({hours:UInt32})
  AND ({project:String} = '' OR project_id = {project:String})
GROUP BY project_id, tool
ORDER BY calls DESC, project_id, tool
