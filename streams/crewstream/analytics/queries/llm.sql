-- title: Language models
-- about: Calls of each model: errors, speed, tokens, what its provider had cached, and price.
-- plot: model: p50_ms p95_ms, cost_usd
-- param hours: UInt32 = 24 -- The window, in hours before now.
-- param project: String = '' -- One project; all when empty.
-- Times, tokens and money are of calls that were made, not of those that the journal answered.
SELECT
    provider,
    model,
    countIf(NOT replayed) AS calls,
    countIf(replayed) AS replayed_calls,
    round(countIf(status = 'error' AND NOT replayed) / nullIf(calls, 0), 4) AS error_rate,
    countIf(error_type = 'llm.rate_limited' AND NOT replayed) AS rate_limited,
    round(ifNotFinite(avgIf(duration_ms, NOT replayed), NULL), 1) AS mean_ms,
    round(ifNotFinite(quantileIf(0.5)(duration_ms, NOT replayed), NULL), 1) AS p50_ms,
    round(ifNotFinite(quantileIf(0.95)(duration_ms, NOT replayed), NULL), 1) AS p95_ms,
    sumIf(e.input_tokens, NOT replayed) AS input_tokens,
    sumIf(e.output_tokens, NOT replayed) AS output_tokens,
    round(sumIf(e.cached_tokens, NOT replayed) / nullIf(input_tokens, 0), 4) AS cache_hit_rate,
    round(output_tokens / nullIf(sumIf(duration_ms, NOT replayed) / 1000, 0), 1)
        AS output_tokens_per_s,
    sumIf(e.cost_usd, NOT replayed) AS cost_usd,
    round(toFloat64(cost_usd) / nullIf(input_tokens + output_tokens, 0) * 1000000, 4)
        AS usd_per_million_tokens,
    countIf(attributes['price'] = 'unknown' AND NOT replayed) AS unpriced_calls
FROM v_events AS e
WHERE operation = 'chat'
  AND occurred_at >= now() - toIntervalHour({hours:UInt32})
  AND ({project:String} = '' OR project_id = {project:String})
GROUP BY provider, model
ORDER BY calls DESC, provider, model
