-- Rejection sampling and readability filters of the reasoning set (paper 2.3.3).
-- In: `candidates` (position, id, prompt_id, "index", text, finish), `verdicts` (completion_id, status, method),
--     `traits` (position, well_formed, language_share), $parameters of tasks/curation/reasoning.py.
-- Out: `decisions`, one row per rule and candidate, `first_failure`, one row per rejected candidate.
-- Everything is ordered by `position`, never by text: sorting text does not fit in memory at scale.

CREATE TEMP TABLE measured AS
SELECT c.position, c.id, c.prompt_id, c."index", v.status, v.method, t.well_formed, t.language_share,
       c.finish = 'length' AS truncated,
       md5(c.text) AS text_hash,
       -- a paragraph ends at an empty line
       list_max(list_transform(regexp_split_to_array(c.text, '\n\s*\n'), lambda p: length(p))) AS paragraph_chars,
       (length(c.text) - length(replace(c.text, '```', ''))) // 3 AS code_fences
FROM candidates c
LEFT JOIN verdicts v ON v.completion_id = c.id
JOIN traits t ON t.position = c.position;

-- What a candidate shows by itself.
CREATE TEMP TABLE single AS
SELECT position, 1 AS rule_order, 'verdict' AS rule, (status = 'ok')::INT::DOUBLE AS value, 1.0 AS threshold,
       coalesce(status = 'ok', false) AS keep, coalesce(status || ' by ' || method, 'no verdict') AS evidence
FROM measured
UNION ALL
SELECT position, 2, 'truncated', truncated::INT, 0, NOT truncated, if(truncated, 'stopped at the token limit', NULL)
FROM measured
UNION ALL
SELECT position, 3, 'well_formed', well_formed::INT, 1, well_formed, if(well_formed, NULL, 'not one think block, then one answer')
FROM measured
UNION ALL  -- a chain of thought without any word mixes no languages
SELECT position, 4, 'mixed_language', language_share, $min_language_share, coalesce(language_share >= $min_language_share, true),
       if(language_share IS NULL, 'no words', NULL)
FROM measured
UNION ALL
SELECT position, 5, 'long_paragraph', paragraph_chars, $max_paragraph_chars, paragraph_chars <= $max_paragraph_chars, NULL
FROM measured
UNION ALL
SELECT position, 6, 'code_block', code_fences, 0, code_fences = 0, NULL
FROM measured;

-- Among equal texts of a prompt the first one without any other fault stays.
CREATE TEMP TABLE repeats AS
WITH passing AS (SELECT position, bool_and(keep) AS passes FROM single GROUP BY position)
SELECT m.position, m.prompt_id, m."index", p.passes,
       row_number() OVER (PARTITION BY m.prompt_id, m.text_hash ORDER BY p.passes DESC, m."index", m.position) - 1 AS earlier,
       first_value(m.id) OVER (PARTITION BY m.prompt_id, m.text_hash ORDER BY p.passes DESC, m."index", m.position) AS kept_id
FROM measured m JOIN passing p USING (position);

-- The cap prefers the lowest sample index: samples are independent, so this is a random choice that favours
-- neither short nor long chains of thought.
CREATE TEMP TABLE ranked AS
SELECT position,
       coalesce(sum((passes AND earlier = 0)::INT) OVER (
           PARTITION BY prompt_id ORDER BY "index", position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS better
FROM repeats;

CREATE TEMP TABLE decisions AS
SELECT * FROM single
UNION ALL
SELECT position, 7, 'duplicate', earlier, 0, earlier = 0, if(earlier = 0, NULL, 'same text as ' || kept_id) FROM repeats
UNION ALL
SELECT position, 8, 'per_prompt_cap', better, $max_per_prompt, better < $max_per_prompt, 'clean candidates of lower index'
FROM ranked;

CREATE TEMP VIEW first_failure AS
SELECT position, arg_min(rule, rule_order) AS rule, min(rule_order) AS rule_order FROM decisions WHERE NOT keep GROUP BY position;
