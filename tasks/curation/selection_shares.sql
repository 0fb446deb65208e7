-- Parts of the result: $names and $amounts side by side, `*` for every group that is not named, scaled to the groups
-- that have passing rows. $total is a quota of all; without it the scarcest group sets the size.

CREATE OR REPLACE TEMP TABLE limits AS
WITH asked AS (
    SELECT label, count(*) FILTER (passes) AS available,
           coalesce($amounts[list_position($names, label)], $amounts[list_position($names, '*')], 0) AS amount
    FROM places GROUP BY label
), part AS (
    SELECT label, available,
           amount / nullif((SELECT sum(amount ORDER BY amount) FROM asked WHERE available > 0), 0) AS part
    FROM asked
), size AS (
    SELECT coalesce($total, min(available / part) FILTER (available > 0 AND part > 0), 0) AS total FROM part
)
SELECT label, coalesce(floor(part * total + 1e-6), 0) AS amount FROM part, size;

CREATE OR REPLACE TEMP TABLE judged AS
SELECT p.row, p.place AS value, l.amount AS threshold, p.place <= l.amount AS keep,
       CASE WHEN $tell THEN p.label END AS evidence
FROM places p JOIN limits l ON l.label IS NOT DISTINCT FROM p.label;
