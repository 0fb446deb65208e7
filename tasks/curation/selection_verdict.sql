-- The candidate's own verdict is one of $accepted.

CREATE OR REPLACE TEMP TABLE judged AS
SELECT row, keep::INT AS value, 1 AS threshold, keep, coalesce(verdict, 'no verdict') AS evidence
FROM (SELECT row, verdict, coalesce(list_contains($accepted, verdict), false) AS keep FROM measured);
