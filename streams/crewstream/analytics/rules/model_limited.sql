-- title: Model limited
-- about: A provider refuses one call in fifty because there are too many.
-- kind: recommendation
-- query: llm
SELECT
    if(rate_limited >= 0.1 * calls, 'critical', 'warning') AS severity,
    '' AS tenant_id,
    '' AS project_id,
    model AS subject,
    concat(toString(rate_limited), ' of ', toString(calls), ' calls of ', model,
           ' were refused by its rate limit') AS about,
    'Lower the concurrency, raise the limit at the provider, or name a fallback model.' AS action,
    map('calls', toString(calls), 'rate_limited', toString(rate_limited)) AS evidence
FROM {query:llm}
WHERE rate_limited >= 5 AND rate_limited >= 0.02 * calls
