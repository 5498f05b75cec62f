-- title: Critical paths
-- about: The workflows that took longest, and the chain of tasks that each of them waited for.
-- param hours: UInt32 = 24 -- Workflows that ended within so many hours before now.
-- param limit: UInt32 = 10 -- How many.
-- param project: String = '' -- One project; all when empty.
-- The longest chain through depends_on. A task took from its last assignment to its end, waiting for
-- a worker included. A dependency ends before its dependant is assigned, so the order of ends will do.
WITH slowest AS (
    SELECT
        workflow_id, tenant_id, project_id, workflow_type, status, duration_s, tasks_total,
        arraySort(
            t -> (t.4, t.3),
            arrayMap(
                t -> (
                    t.task_id,
                    t.depends_on,
                    assumeNotNull(t.assigned_at),
                    assumeNotNull(t.finished_at)),
                arrayFilter(t -> isNotNull(t.assigned_at) AND isNotNull(t.finished_at), tasks))) AS ran
    FROM workflows
    WHERE ended_at >= now() - toIntervalHour({hours:UInt32})
      AND ({project:String} = '' OR project_id = {project:String})
    ORDER BY duration_s DESC, workflow_id
    LIMIT {limit:UInt32}
),
chains AS (
    SELECT
        *,
        arrayFold(
            (known, t) -> arrayPushBack(known, (
                t.1,
                dateDiff('microsecond', t.3, t.4) / 1000000
                    + arrayMax(arrayPushBack(
                        arrayMap(k -> k.2, arrayFilter(k -> has(t.2, k.1), known)), 0.)),
                arrayPushBack(
                    arraySort(k -> -k.2, arrayFilter(k -> has(t.2, k.1), known))[1].3,
                    t.1))),
            ran,
            CAST([], 'Array(Tuple(String, Float64, Array(String)))')) AS known,
        arraySort(k -> -k.2, known)[1] AS longest
    FROM slowest
)
SELECT
    workflow_id, tenant_id, project_id, workflow_type, status,
    round(duration_s, 3) AS duration_s,
    round(longest.2, 3) AS critical_path_s,
    round(longest.2 / nullIf(duration_s, 0), 4) AS share,
    tasks_total,
    longest.3 AS critical_path,
    arrayMap(id -> round(arrayFirst(k -> k.1 = id, known).2 - ifNull(
        arrayMax(arrayPushBack(arrayMap(
            k -> k.2, arrayFilter(k -> has(arrayFirst(t -> t.1 = id, ran).2, k.1), known)), 0.)), 0),
        3), longest.3) AS task_s
FROM chains
ORDER BY duration_s DESC, workflow_id
