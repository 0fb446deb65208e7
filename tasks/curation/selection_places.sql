-- Where each row stands in its group: one more than the passing rows before it. So a row that failed earlier gets the
-- place it would have had, and takes none.

CREATE OR REPLACE TEMP TABLE places AS
WITH keyed AS (
    SELECT row, s.tie, d.passes, s.labels[$group] AS label,
           $sign1 * number_at(s.numbers, $key1) AS key1,
           $sign2 * number_at(s.numbers, $key2) AS key2,
           $sign3 * number_at(s.numbers, $key3) AS key3
    FROM selectable s JOIN standing d USING (row)
)
SELECT *, 1 + coalesce(sum(passes::INT) OVER (
           PARTITION BY label ORDER BY key1 NULLS LAST, key2 NULLS LAST, key3 NULLS LAST, tie, row
           ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS place
FROM keyed;
