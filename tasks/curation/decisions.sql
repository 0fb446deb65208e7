-- All candidates of a run, numbered by their ids.
-- In: $files (one Parquet of measures per shard), `shards` (number, file).
-- Out: `measured`, ordered by `row`, the rank of the id: nothing later depends on how candidates were cut into shards.
-- `passes` says whether a candidate passed the steps so far; tasks/curation/curate.py carries it on.

CREATE OR REPLACE TABLE measured AS
SELECT (row_number() OVER () - 1)::INTEGER AS row, *, true AS passes
FROM (
    SELECT s.number AS shard, m.* EXCLUDE (filename)
    FROM read_parquet($files, filename = true) m JOIN shards s ON s.file = m.filename
    ORDER BY m.id
);
