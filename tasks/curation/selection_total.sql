-- So many rows of all groups together, which take turns: first the best of each, then the second of each, and so on.

CREATE OR REPLACE TEMP TABLE judged AS
SELECT row, turn AS value, $total AS threshold, turn <= $total AS keep,
       CASE WHEN $tell THEN label END AS evidence
FROM (
    SELECT row, label, 1 + coalesce(sum(passes::INT) OVER (
               ORDER BY place, key1 NULLS LAST, key2 NULLS LAST, key3 NULLS LAST, tie, row
               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS turn
    FROM places
);
