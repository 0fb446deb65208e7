-- Classes of one number, split at $edges or, where there are none, at the $fractions of the rows that pass so far.
-- A value equal to an edge belongs to the class below it. Nothing is rejected: the class is evidence, and a label that
-- caps can use.

CREATE OR REPLACE TEMP TABLE classes AS
WITH numbered AS (
    SELECT row, d.passes, number_at(s.numbers, $column) AS value FROM selectable s JOIN standing d USING (row)
), split AS (
    SELECT CASE WHEN len($edges::DOUBLE[]) > 0 THEN $edges::DOUBLE[]
                ELSE quantile_disc(value, $fractions::DOUBLE[]) FILTER (passes) END AS edges
    FROM numbered
)
SELECT row, CASE WHEN value IS NOT NULL THEN 1 + len(list_filter(edges, lambda edge: edge < value)) END AS class
FROM numbered, split;

CREATE OR REPLACE TEMP TABLE judged AS
SELECT row, class AS value, len($names) AS threshold, true AS keep, coalesce($names[class], $missing) AS evidence
FROM classes;

CREATE OR REPLACE TEMP TABLE labelled AS
SELECT row, s.tie, s.numbers, list_append(s.labels, $names[c.class]) AS labels
FROM selectable s JOIN classes c USING (row);
DROP TABLE selectable;
ALTER TABLE labelled RENAME TO selectable;
