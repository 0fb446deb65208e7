-- The specification of tasks/curation/near_duplicates.py in plain SQL, for some hundred rows: it is tested against it.
-- In: `measured` (near_duplicates.sql), `grams` (row, gram): the distinct n-grams of each text,
--     `links` (row, other, similarity): embeddings that are near, both ways; $parameters of a policy.
-- Out: `expected` (row, kept_row, jaccard, scope, kind).

CREATE OR REPLACE TEMP TABLE ranked AS
SELECT row, prompt_id, exact, normal, bands,
       row_number() OVER (ORDER BY passes DESC, CASE $prefer WHEN 'shortest' THEN chars WHEN 'longest' THEN -chars END,
                                   "index" NULLS LAST, id) AS place
FROM measured;

CREATE OR REPLACE TEMP TABLE pairs AS
SELECT a.row, b.row AS other, b.place < a.place AS before, list_has_any(a.bands, b.bands) AS share_a_band,
       a.exact = b.exact AND (same_prompt OR $exact_scope = 'all') AND $exact AS exact,
       a.normal = b.normal AND (same_prompt OR $exact_scope = 'all') AND $exact AS normal,
       if(same_prompt, 'within_prompt', 'across_prompts') AS scope,
       if(same_prompt, $within_prompt, $across_prompts)::DOUBLE AS threshold
FROM ranked a JOIN ranked b ON a.row <> b.row CROSS JOIN LATERAL (SELECT a.prompt_id = b.prompt_id AS same_prompt);

CREATE OR REPLACE TEMP TABLE similarities AS
WITH sizes AS (SELECT row, count(*) AS size FROM grams GROUP BY row),
     common AS (SELECT a.row, b.row AS other, count(*) AS common FROM grams a JOIN grams b USING (gram) GROUP BY ALL)
SELECT c.row, c.other, c.common::DOUBLE / (a.size + b.size - c.common) AS jaccard
FROM common c JOIN sizes a ON a.row = c.row JOIN sizes b ON b.row = c.other;

-- Components of the near pairs that share a band; each is named by its first row.
CREATE OR REPLACE TEMP TABLE components AS
WITH RECURSIVE edges AS (
    SELECT row, other FROM pairs JOIN similarities USING (row, other) WHERE share_a_band AND jaccard >= threshold
), reached(row, other) AS (
    SELECT row, row FROM ranked
    UNION
    SELECT r.row, e.other FROM reached r JOIN edges e ON e.row = r.other
)
SELECT row, min(other) AS component FROM reached GROUP BY row;

-- Which row would make which superfluous, if kept.
CREATE OR REPLACE TEMP TABLE reasons AS
SELECT row, other, 1.0::DOUBLE AS similarity, scope, 'exact' AS kind FROM pairs WHERE before AND exact
UNION ALL
SELECT row, other, 1.0, scope, 'normal' FROM pairs WHERE before AND normal
UNION ALL
SELECT p.row, p.other, s.jaccard, p.scope, 'near'
FROM pairs p JOIN similarities s USING (row, other)
JOIN components a ON a.row = p.row JOIN components b ON b.row = p.other AND b.component = a.component
WHERE p.before AND s.jaccard >= p.threshold
UNION ALL
SELECT p.row, p.other, l.similarity, p.scope, 'embedding' FROM pairs p JOIN links l USING (row, other) WHERE p.before;

-- Rows in the order of preference; one stays unless a row that stays is a reason against it.
CREATE OR REPLACE TEMP TABLE staying AS
WITH RECURSIVE against AS (
    SELECT r.row, r.place, list(d.other) FILTER (d.other IS NOT NULL) AS others
    FROM ranked r LEFT JOIN reasons d USING (row) GROUP BY ALL
), taken(place, kept) AS (
    SELECT 0, []::INTEGER[]
    UNION ALL
    SELECT a.place::INTEGER, if(coalesce(list_has_any(a.others, t.kept), false), t.kept, list_append(t.kept, a.row))
    FROM taken t JOIN against a ON a.place = t.place + 1
)
SELECT unnest(kept) AS row FROM taken WHERE place = (SELECT max(place) FROM taken);

-- The most preferred of the reasons that stay, by rule.
CREATE OR REPLACE TABLE expected AS
SELECT d.row, arg_min(d.other, k.place) AS kept_row, arg_min(d.similarity, k.place) AS jaccard,
       arg_min(d.scope, k.place) AS scope, d.kind
FROM reasons d JOIN staying s ON s.row = d.other JOIN ranked k ON k.row = d.other
GROUP BY d.row, d.kind, if(d.kind = 'near', d.scope, NULL);
