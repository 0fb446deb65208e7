-- Exact, normalised, near and embedding duplicates; near_duplicates.py finds the near ones and decides which rows stay.
-- In: `measured` (row, id, prompt_id, "index", chars, exact, normal, bands, shingles, passes), $parameters,
--     `hits` (row, kept_row, jaccard, scope, kind): the kept row that makes a row superfluous, by rule.
-- Out: `compared`, `duplicates`, view `deduplication`.

-- Groups of equal texts are named by their first row; `preference` is the order in which rows are taken.
CREATE OR REPLACE TEMP TABLE compared AS
WITH prompts AS (SELECT prompt_id, min(row) AS prompt FROM measured GROUP BY prompt_id),
     texts AS (SELECT exact, min(row) AS text FROM measured GROUP BY exact HAVING count(*) > 1),
     normals AS (SELECT normal, min(row) AS normal_text FROM measured GROUP BY normal HAVING count(*) > 1),
     ranked AS (
         SELECT row, row_number() OVER (ORDER BY passes DESC,
             CASE $prefer WHEN 'shortest' THEN chars WHEN 'longest' THEN -chars ELSE 0 END, "index" NULLS LAST, row
         ) AS preference
         FROM measured
     ),
     grouped AS (
         SELECT row, prompt, preference, shingles, coalesce(text, row) AS text,
                coalesce(normal_text, row) AS normal_text
         FROM measured JOIN ranked USING (row) JOIN prompts USING (prompt_id)
         LEFT JOIN texts USING (exact) LEFT JOIN normals USING (normal)
     ),
     texts_of_prompt AS (
         SELECT text, prompt, min(row) AS own_text FROM grouped GROUP BY text, prompt HAVING count(*) > 1
     ),
     normals_of_prompt AS (
         SELECT normal_text, prompt, min(row) AS own_normal FROM grouped
         GROUP BY normal_text, prompt HAVING count(*) > 1
     )
SELECT row, prompt, text, preference, shingles,
       if($exact_scope = 'all', text, coalesce(own_text, row)) AS exact,
       if($exact_scope = 'all', normal_text, coalesce(own_normal, row)) AS normal,
       -- where prompts are not compared with each other, a text is another one in every prompt
       CASE WHEN shingles = 0 THEN -1 WHEN $across THEN text ELSE coalesce(own_text, row) END AS head
FROM grouped LEFT JOIN texts_of_prompt USING (text, prompt) LEFT JOIN normals_of_prompt USING (normal_text, prompt);

CREATE OR REPLACE TABLE duplicates AS SELECT row, kept_row, jaccard, scope, kind FROM hits;

CREATE OR REPLACE TABLE deduplication_rules AS
SELECT $exact AS exact, $within_prompt::DOUBLE AS within_prompt, $across_prompts::DOUBLE AS across_prompts,
       if($embedding, $embedding_similarity::DOUBLE, NULL) AS embedding;

CREATE OR REPLACE TABLE superfluous AS
WITH kept AS (SELECT row AS kept_row, id FROM measured WHERE row IN (SELECT kept_row FROM duplicates))
SELECT row, max(id) FILTER (kind = 'exact') AS exact, max(id) FILTER (kind = 'normal') AS normal,
       max(id) FILTER (kind = 'near' AND scope = 'within_prompt') AS within,
       max(id) FILTER (kind = 'near' AND scope = 'across_prompts') AS across,
       max(id) FILTER (kind = 'embedding') AS embedding,
       max(jaccard) FILTER (kind = 'near' AND scope = 'within_prompt') AS within_jaccard,
       max(jaccard) FILTER (kind = 'near' AND scope = 'across_prompts') AS across_jaccard,
       max(jaccard) FILTER (kind = 'embedding') AS similarity
FROM duplicates JOIN kept USING (kept_row) GROUP BY row ORDER BY row;

-- All rules for every row; a value is the similarity to the kept row, NULL where no kept row reaches the threshold.
CREATE OR REPLACE VIEW deduplication AS
SELECT m.row,
    CASE WHEN rules.exact THEN [
        {rule: 'exact_duplicate', value: if(s.exact IS NULL, NULL, 1.0::DOUBLE), threshold: 1.0::DOUBLE,
         keep: s.exact IS NULL, evidence: 'same text as ' || s.exact},
        {rule: 'normal_duplicate', value: if(s.normal IS NULL, NULL, 1.0::DOUBLE), threshold: 1.0::DOUBLE,
         keep: s.normal IS NULL, evidence: 'same text after normalisation as ' || s.normal}
    ] ELSE [] END
    || CASE WHEN within_prompt IS NOT NULL THEN [
        {rule: 'near_within_prompt', value: within_jaccard, threshold: within_prompt, keep: s.within IS NULL,
         evidence: if(shingles = 0, 'shorter than one n-gram: compared by its hash alone', 'near ' || s.within)}
    ] ELSE [] END
    || CASE WHEN across_prompts IS NOT NULL THEN [
        {rule: 'near_across_prompts', value: across_jaccard, threshold: across_prompts, keep: s.across IS NULL,
         evidence: if(shingles = 0, 'shorter than one n-gram: compared by its hash alone', 'near ' || s.across)}
    ] ELSE [] END
    || CASE WHEN rules.embedding IS NOT NULL THEN [
        {rule: 'embedding', value: similarity, threshold: rules.embedding, keep: s.embedding IS NULL,
         evidence: 'embedding near ' || s.embedding}
    ] ELSE [] END AS decisions
FROM measured m LEFT JOIN superfluous s ON s.row = m.row CROSS JOIN deduplication_rules rules;
