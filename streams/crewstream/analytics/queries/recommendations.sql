-- title: Recommendations
-- about: What the record advises now: what is wrong, since when, what to do, and where to look.
-- param status: String = 'open' (open|resolved|) -- Open ones, resolved ones, or all when empty.
-- param project: String = '' -- One project; all when empty.
SELECT
    severity, rule, kind, tenant_id, project_id, subject, about, action, evidence, query, status,
    opened_at, updated_at, advice_id
FROM v_recommendations
WHERE ({status:String} = '' OR status = {status:String})
  AND ({project:String} = '' OR project_id = {project:String})
ORDER BY indexOf(['critical', 'warning', 'info'], severity), opened_at DESC, rule, subject
