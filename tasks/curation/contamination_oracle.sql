-- The oracle of decontamination: which rows of `a` (row, text) overlap with which items of `b` (item, text), in plain SQL
-- on the tokens themselves, without hashes. Slow, and readable: the kernel is tested against it.

CREATE OR REPLACE MACRO lower_ascii(content) AS translate(content, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz');
CREATE OR REPLACE MACRO tokens(content) AS
    regexp_extract_all(lower_ascii(content), '[a-z0-9]+|[^\x00-\x7F\p{M}\p{Z}\x{85}]');
-- what counts of a text when two are compared as a whole
CREATE OR REPLACE MACRO letters(content) AS array_to_string(regexp_extract_all(lower_ascii(nfc_normalize(content)),
    '[0-9]+(?:\.[0-9]+)*|[-a-z+*/^=<>%!]|[^\x00-\x7F\p{M}\p{Z}\p{P}\x{85}]'), '');
CREATE OR REPLACE MACRO grams(words, n) AS
    list_transform(range(1, len(words) - n + 2), lambda i: list_slice(words, i, i + n - 1));

-- (words come from a subquery: inside a lambda, a macro's argument is computed again for every n-gram)
CREATE OR REPLACE TABLE grams_a AS
SELECT DISTINCT row, unnest(grams(words, $n)) AS gram FROM (SELECT row, tokens(text) AS words FROM a);

CREATE OR REPLACE TABLE every_gram AS
SELECT DISTINCT item, unnest(grams(words, $n)) AS gram FROM (SELECT item, tokens(text) AS words FROM b);

-- n-grams in more than $max_document_frequency problems (null: no limit); equal problems count once
CREATE OR REPLACE TABLE boilerplate AS
WITH problems AS (SELECT min(item) AS item FROM b GROUP BY letters(text))
SELECT gram FROM every_gram SEMI JOIN problems USING (item)
GROUP BY gram HAVING count(*) > coalesce($max_document_frequency, 9223372036854775807);

CREATE OR REPLACE TABLE shared_grams AS  -- what the kernel must find
WITH grams_b AS (SELECT item, gram FROM every_gram ANTI JOIN boilerplate USING (gram)),
of_item AS (SELECT item, count(*) AS grams FROM grams_b GROUP BY item)
SELECT row, item, count(*) AS shared, count(*) / any_value(of_item.grams) AS coverage
FROM grams_a JOIN grams_b USING (gram) JOIN of_item USING (item)
GROUP BY row, item;

CREATE OR REPLACE TABLE equal_texts AS
WITH left_of AS (SELECT row, letters(text) AS kept FROM a), right_of AS (SELECT item, letters(text) AS kept FROM b)
SELECT row, item FROM left_of JOIN right_of USING (kept) WHERE kept <> '';
