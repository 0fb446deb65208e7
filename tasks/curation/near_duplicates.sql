-- Exact, normalised, near and embedding duplicates (near_duplicates.py finds the near ones and covers the groups).
-- In: `measured` (row, id, prompt_id, "index", chars, exact, normal, bands, shingles, passes),
--     `hits` (row, exact, normal, within, within_jaccard, across, across_jaccard, embedding, similarity): the kept
--     row that makes a row superfluous, by rule; only rows with one. $parameters of near_duplicates.py.
-- Out: `compared`, `duplicates`, `deduplication`.

-- Groups are named by their first row; `preference` is the order in which rows are taken.
CREATE OR REPLACE TEMP TABLE compared AS
WITH grouped AS (
    SELECT row, min(row) OVER (PARTITION BY prompt_id) AS prompt, min(row) OVER (PARTITION BY exact) AS text,
           min(row) OVER (PARTITION BY normal) AS normal_text, bands IS NOT NULL AS long, shingles,
           row_number() OVER (ORDER BY passes DESC,
               CASE $prefer WHEN 'shortest' THEN chars WHEN 'longest' THEN -chars ELSE 0 END,
               "index" NULLS LAST, row) - 1 AS preference
    FROM measured
)
SELECT row, prompt, text, preference, shingles, long,
       CASE $exact_scope WHEN 'all' THEN text ELSE min(row) OVER (PARTITION BY text, prompt) END AS exact,
       CASE $exact_scope WHEN 'all' THEN normal_text ELSE min(row) OVER (PARTITION BY normal_text, prompt) END AS normal,
       -- where prompts are not compared with each other, a text is another one in every prompt
       CASE WHEN NOT long THEN -1 WHEN $across THEN text ELSE min(row) OVER (PARTITION BY text, prompt) END AS head
FROM grouped
ORDER BY row;

CREATE OR REPLACE TABLE duplicates AS
SELECT row, kept_row, jaccard, scope, kind
FROM (
    SELECT row, exact AS kept_row, 1.0::DOUBLE AS jaccard, 1 AS rule, 'exact' AS kind FROM hits WHERE exact >= 0
    UNION ALL
    SELECT row, normal, 1.0, 2, 'normal' FROM hits WHERE normal >= 0
    UNION ALL
    SELECT row, within, within_jaccard, 3, 'near' FROM hits WHERE within >= 0
    UNION ALL
    SELECT row, across, across_jaccard, 4, 'near' FROM hits WHERE across >= 0
    UNION ALL
    SELECT row, embedding, similarity, 5, 'embedding' FROM hits WHERE embedding >= 0
) found
JOIN (SELECT row, prompt FROM compared) own USING (row)
JOIN (SELECT row AS kept_row, prompt AS kept_prompt FROM compared) other USING (kept_row)
CROSS JOIN LATERAL (SELECT if(prompt = kept_prompt, 'within_prompt', 'across_prompts') AS scope)
ORDER BY row, rule;

-- All rules for every row; a value is the similarity to the kept row, NULL where no kept row reaches the threshold.
CREATE OR REPLACE TABLE deduplication AS
WITH named AS (
    SELECT h.row, h.within_jaccard, h.across_jaccard, h.similarity, e.id AS exact, n.id AS normal, w.id AS within,
           a.id AS across, s.id AS embedding
    FROM hits h
    LEFT JOIN measured e ON e.row = h.exact
    LEFT JOIN measured n ON n.row = h.normal
    LEFT JOIN measured w ON w.row = h.within
    LEFT JOIN measured a ON a.row = h.across
    LEFT JOIN measured s ON s.row = h.embedding
), short AS (
    SELECT row, CASE WHEN NOT long THEN 'shorter than one n-gram: compared by its hash alone' END AS note FROM compared
)
SELECT short.row,
    CASE WHEN $exact THEN [
        {rule: 'exact_duplicate', value: if(named.exact IS NULL, NULL, 1.0::DOUBLE), threshold: 1.0::DOUBLE,
         keep: named.exact IS NULL, evidence: 'same text as ' || named.exact},
        {rule: 'normal_duplicate', value: if(named.normal IS NULL, NULL, 1.0::DOUBLE), threshold: 1.0::DOUBLE,
         keep: named.normal IS NULL, evidence: 'same text after normalisation as ' || named.normal}
    ] ELSE [] END
    || CASE WHEN $within_prompt IS NOT NULL THEN [
        {rule: 'near_within_prompt', value: if(named.within IS NULL, NULL, within_jaccard),
         threshold: $within_prompt::DOUBLE, keep: named.within IS NULL, evidence: coalesce('near ' || named.within, note)}
    ] ELSE [] END
    || CASE WHEN $across_prompts IS NOT NULL THEN [
        {rule: 'near_across_prompts', value: if(named.across IS NULL, NULL, across_jaccard),
         threshold: $across_prompts::DOUBLE, keep: named.across IS NULL, evidence: coalesce('near ' || named.across, note)}
    ] ELSE [] END
    || CASE WHEN $embedding THEN [
        {rule: 'embedding', value: if(named.embedding IS NULL, NULL, similarity), threshold: $embedding_similarity::DOUBLE,
         keep: named.embedding IS NULL, evidence: 'embedding near ' || named.embedding}
    ] ELSE [] END AS decisions
FROM short LEFT JOIN named USING (row)
ORDER BY short.row;
