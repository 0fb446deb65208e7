-- One side of a band: the number stands to $bound as $test says. A row without that number is outside.

CREATE OR REPLACE TEMP TABLE judged AS
SELECT row, value, $bound AS threshold, keep,
       CASE WHEN value IS NULL THEN $missing WHEN NOT keep THEN $wanted END AS evidence
FROM (
    SELECT row, value, coalesce(CASE $test
               WHEN 'at_least' THEN value >= $bound
               WHEN 'above' THEN value > $bound
               WHEN 'at_most' THEN value <= $bound
               WHEN 'below' THEN value < $bound
           END, false) AS keep
    FROM (SELECT row, number_at(numbers, $column) AS value FROM selectable)
);
