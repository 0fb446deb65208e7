-- So many rows of each group: $names and $amounts side by side, `*` for every group that is not named.

CREATE OR REPLACE TEMP TABLE judged AS
SELECT row, place AS value, amount AS threshold, place <= amount AS keep, CASE WHEN $tell THEN label END AS evidence
FROM (
    SELECT row, place, label,
           coalesce($amounts[list_position($names, label)], $amounts[list_position($names, '*')], 0) AS amount
    FROM places
);
