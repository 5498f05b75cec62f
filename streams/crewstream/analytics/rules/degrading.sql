-- title: Degrading
-- about: A project becomes worse day by day, more than chance explains.
-- kind: recommendation
-- query: trend_slope
SELECT
    'info' AS severity,
    '' AS tenant_id,
    project_id,
    metric AS subject,
    concat(metric, ' of ', project_id, ' changes by ', toString(round(100 * change_per_day, 2)),
           ' % a day, for the worse') AS about,
    'See `crewstream query trend_day --plot` for when it began.' AS action,
    map('mean', toString(mean), 'slope_per_day', toString(slope_per_day), 'p_value', toString(p_value),
        'days', toString(days_seen)) AS evidence
FROM {query:trend_slope}
WHERE direction = 'degrading' AND days_seen >= 7 AND abs(change_per_day) >= 0.005
