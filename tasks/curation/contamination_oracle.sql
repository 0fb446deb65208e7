-- The oracle of decontamination: which rows of `a` (row, text) share an n-gram with which items of `b` (item, text),
-- in plain SQL on the tokens themselves, without hashes. Slow, and readable: the kernel is tested against it.
-- Parameters: $n tokens; $max_document_frequency, n-grams in more texts of b than this are boilerplate (null: none are).
-- Out: (row, item, shared distinct n-grams, coverage of the item's distinct n-grams), ordered.

WITH
words_a AS (SELECT row, tokens(text) AS words FROM a),
words_b AS (SELECT item, tokens(text) AS words FROM b),
grams_a AS (
    SELECT DISTINCT row, unnest(list_transform(range(1, len(words) - $n + 2), lambda i: list_slice(words, i, i + $n - 1))) AS gram
    FROM words_a WHERE len(words) >= $n
),
every_gram AS (
    SELECT DISTINCT item, unnest(list_transform(range(1, len(words) - $n + 2), lambda i: list_slice(words, i, i + $n - 1))) AS gram
    FROM words_b WHERE len(words) >= $n
),
-- equal texts count once: an item published in several benchmarks is no boilerplate
original AS (SELECT min(item) AS item FROM b WHERE normalised(text) <> '' GROUP BY normalised(text)),
boilerplate AS (
    SELECT gram FROM every_gram SEMI JOIN original USING (item)
    GROUP BY gram HAVING count(*) > coalesce($max_document_frequency, 9223372036854775807)
),
grams_b AS (SELECT item, gram FROM every_gram ANTI JOIN boilerplate USING (gram)),
of_item AS (SELECT item, count(*) AS grams FROM grams_b GROUP BY item)
SELECT row, item, count(*) AS shared, count(*) / any_value(of_item.grams) AS coverage
FROM grams_a JOIN grams_b USING (gram) JOIN of_item USING (item)
GROUP BY row, item
ORDER BY row, item
