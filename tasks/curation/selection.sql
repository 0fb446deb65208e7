-- What selection looks at, one row per candidate.
-- In:  `measured`, `passing` (row, passes), `selection_named` (row, numbers, labels): columns that the policy names.
-- Out: `selectable` (row, tie, numbers DOUBLE[], labels VARCHAR[]), `standing` (row, passes),
--      `selection`, still empty.

CREATE OR REPLACE TEMP MACRO number_at(numbers, place) AS
    CASE WHEN NOT isnan(numbers[place]) THEN numbers[place] + 0.0 END;  -- -0 is 0

-- A pass rate counts every graded candidate of the prompt, also those that an earlier step rejects: it measures the
-- prompt. A failure of the verifier itself is no verdict.
CREATE OR REPLACE TEMP TABLE graded AS
SELECT prompt_id, count(*) FILTER (verdict <> 'infra') AS samples, count(*) FILTER (verdict = 'ok') AS passed
FROM measured GROUP BY prompt_id;

-- Ties are broken at random, and for one seed always alike: 60 bits of the MD5 of "seed id".
CREATE OR REPLACE TEMP TABLE selectable AS
SELECT m.row,
       ('0x' || md5($seed::VARCHAR || ' ' || m.id)[:15])::BIGINT AS tie,
       n.numbers || [g.samples::DOUBLE, g.passed / nullif(g.samples, 0)] AS numbers,
       n.labels
FROM measured m JOIN graded g USING (prompt_id) JOIN selection_named n ON n.row = m.row;

CREATE OR REPLACE TEMP TABLE standing AS SELECT row, passes FROM passing;

CREATE OR REPLACE TABLE selection (
    row INTEGER, decisions STRUCT(rule VARCHAR, value DOUBLE, threshold DOUBLE, keep BOOLEAN, evidence VARCHAR)[]);
