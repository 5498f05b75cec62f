-- title: Dead letters
-- about: Records that could not be used, by topic and error, and the last of each.
-- param hours: UInt32 = 24 -- The window, in hours before now.
SELECT
    topic,
    error_type,
    count() AS letters,
    argMax(error, failed_at) AS last_error,
    argMax(concat(topic, '[', toString(partition), ']@', toString(offset)), failed_at) AS last_position,
    max(failed_at) AS last_seen
FROM v_dead_letters
WHERE failed_at >= now() - toIntervalHour({hours:UInt32})
GROUP BY topic, error_type
ORDER BY letters DESC, topic, error_type
