-- Every measure of the kernel in plain SQL: slow, and the reference the kernel is tested against.
-- In: texts(row, text), spec(n, bands, rows, gram_n, max_df), scripts(name, letters, chars_per_word,
-- needed), items(item, text). Out: table `measured`. `white`: the inside of a regular expression's brackets.

CREATE OR REPLACE MACRO white() AS
    '\x09-\x0d\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}';

-- 64-bit arithmetic modulo 2**64
CREATE OR REPLACE MACRO low64(x) AS (x & 18446744073709551615::UHUGEINT)::UBIGINT;
CREATE OR REPLACE MACRO plus(a, b) AS low64(a::UHUGEINT + b::UHUGEINT);
CREATE OR REPLACE MACRO times(a, b) AS low64(a::UHUGEINT * b::UHUGEINT);
CREATE OR REPLACE MACRO shaken(x, shift) AS xor(x, x >> shift);
CREATE OR REPLACE MACRO mix(x) AS  -- the finaliser of splitmix64
    shaken(times(shaken(times(shaken(x::UBIGINT, 30), 13787848793156543929), 27), 10723151780598845931), 31);
CREATE OR REPLACE MACRO word_step() AS 15485907386658061715::UBIGINT;
CREATE OR REPLACE MACRO token_step() AS 14029467366897019727::UBIGINT;
CREATE OR REPLACE MACRO golden() AS 11400714819323198485::UBIGINT;
CREATE OR REPLACE MACRO lane() AS 11562461410679940143::UBIGINT;
CREATE OR REPLACE MACRO words64(content) AS list_transform(  -- big-endian 64-bit words, the last filled with zeros
    regexp_extract_all(hex(encode(content)), '.{1,16}'), lambda w: ('0x' || rpad(w, 16, '0'))::UBIGINT);
CREATE OR REPLACE MACRO lower_ascii(content) AS
    translate(content, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz');
CREATE OR REPLACE MACRO nfc(content) AS  -- nfc_normalize ends at a NUL
    array_to_string(list_transform(string_split(content, chr(0)), lambda part: nfc_normalize(part)), chr(0));

-- 128-bit hashes: sums over the mixed words, then the length
CREATE OR REPLACE TABLE contents AS
    SELECT 'exact' AS kind, row, text AS content FROM texts WHERE text IS NOT NULL
    UNION ALL
    SELECT 'normal', row, lower_ascii(trim(regexp_replace(nfc(text), '[' || white() || ']+', ' ', 'g'), ' '))
    FROM texts WHERE text IS NOT NULL;
CREATE OR REPLACE TABLE digests AS
    WITH words AS (
        SELECT kind, row, unnest(words64(content)) AS word, generate_subscripts(words64(content), 1) AS place
        FROM contents
    ), mixed AS (SELECT kind, row, mix(plus(word, times(place, golden()))) AS mixed FROM words
    ), sums AS (
        SELECT kind, row, low64(sum(mixed)::UHUGEINT) AS low, low64(sum(high)::UHUGEINT) AS high
        FROM (SELECT *, mix(xor(mixed, lane())) AS high FROM mixed) GROUP BY ALL
    )
    SELECT kind, row, unhex(lpad(hex(mix(plus(coalesce(low, 0), octet_length(encode(content))))), 16, '0')
                         || lpad(hex(mix(plus(coalesce(high, 0), octet_length(encode(content))))), 16, '0')) AS digest
    FROM contents LEFT JOIN sums USING (kind, row);

-- tokens and n-grams; `signs` are tokens for near-duplicates only
CREATE OR REPLACE MACRO pieces(content) AS
    regexp_extract_all(content, '[A-Za-z0-9]+|[^\x00-\x7F\p{M}' || white() || ']|(?s:.)');
CREATE OR REPLACE TABLE pieces_of AS
    WITH sources AS (SELECT 'text' AS kind, row, text FROM texts UNION ALL SELECT 'item', item, text FROM items
    ), unnested AS (
        SELECT kind, row, unnest(pieces(text)) AS piece, generate_subscripts(pieces(text), 1) AS place
        FROM sources
    )
    SELECT *, regexp_matches(piece, '^[-+*/^=<>%!]') AS sign,
        sum(octet_length(encode(piece))) OVER (PARTITION BY kind, row ORDER BY place) AS until
    FROM unnested;
CREATE OR REPLACE TABLE tokens AS
    WITH hashed AS (
        SELECT kind, row, sign, until - octet_length(encode(piece)) AS start, until,
            CASE WHEN regexp_matches(piece, '^[A-Za-z0-9]') THEN
                list_reduce(words64(lower(piece)), lambda h, word: plus(times(h, word_step()), word))
            ELSE unicode(piece)::UBIGINT END AS h
        FROM pieces_of
        WHERE sign OR regexp_matches(piece, '^(?:[A-Za-z0-9]|[^\x00-\x7F\p{M}' || white() || '])')
    )
    SELECT kind, row, signs, start, until, mix(h) AS hash,
        row_number() OVER (PARTITION BY kind, row, signs ORDER BY start) AS place
    FROM hashed, (VALUES (true), (false)) AS uses(signs) WHERE signs OR NOT sign;
CREATE OR REPLACE TABLE powers AS
    WITH RECURSIVE p(k, power) AS (
        SELECT 0, 1::UBIGINT UNION ALL SELECT k + 1, times(power, token_step()) FROM p WHERE k < 64
    ) FROM p;
CREATE OR REPLACE TABLE ngrams AS
    WITH sized AS (SELECT *, CASE WHEN signs THEN n ELSE gram_n END AS size FROM tokens, spec
    ), sums AS (
        SELECT a.kind, a.row, a.signs, a.place, a.start, max(b.until) AS until, sum(times(b.hash, power)) AS total
        FROM sized a, tokens b, powers
        WHERE a.kind = b.kind AND a.row = b.row AND a.signs = b.signs AND a.size > 0
            AND b.place = a.place + a.size - 1 - k AND k < a.size
        GROUP BY ALL HAVING count(*) = any_value(a.size)
    )
    SELECT * EXCLUDE total, greatest(mix(low64(total::UHUGEINT)), 1) AS gram FROM sums;
CREATE OR REPLACE TABLE shingles AS
    SELECT DISTINCT row, gram FROM ngrams WHERE kind = 'text' AND signs;

-- MinHash by one permutation: the least of each bin, an empty bin takes the value of another. Then bands
CREATE OR REPLACE TABLE bands AS
    WITH places AS (SELECT bands * rows AS bins, unnest(range(bands * rows)) AS p FROM spec
    ), own AS (
        SELECT row, ((gram >> 32) * bins) >> 32 AS p, min((gram & 4294967295) >> 1) AS least
        FROM shingles, (SELECT bands * rows AS bins FROM spec) GROUP BY ALL
    ), signatures AS (
        SELECT own.row, places.p, arg_min(least, (own.p <> places.p, mix((places.p * bins + own.p)::UBIGINT))) AS least
        FROM own, places GROUP BY ALL
    ), banded AS (
        SELECT s.row, p // spec.rows AS band, list(least ORDER BY p) AS leasts FROM signatures s, spec GROUP BY ALL
    ), hashed AS (
        SELECT row, band, mix(list_reduce(list_prepend((band + 1)::UBIGINT, leasts::UBIGINT[]),
            lambda h, value: plus(times(h, token_step()), value))) AS h
        FROM banded
    )
    SELECT row, list(h ORDER BY band) AS bands FROM hashed GROUP BY ALL;

-- the chain of thought, its fences, its words
CREATE OR REPLACE TABLE thoughts AS
    SELECT row, text,
        regexp_extract_all(text, '</?(?:think|answer)>') AS tags,
        regexp_matches(text, '^[' || white() || ']*<think>') AS opens,
        contains(text, '</think>') AND regexp_matches(split_part(text, '</think>', 1), '^[' || white() || ']*<think>')
            AS thinks,
        CASE WHEN thinks THEN regexp_replace(split_part(text, '</think>', 1), '^[' || white() || ']*<think>', '')
            ELSE text END AS thought
    FROM texts WHERE text IS NOT NULL;
CREATE OR REPLACE TABLE words AS
    WITH prose AS (
        SELECT row, regexp_replace(regexp_replace(thought,
            '(?s:```.*?(?:```|\z))|`[^`\n]+`|\$\$[^$]+\$\$|\$[^$' || white() || '](?:[^$\n]*[^$' || white() || '])?\$'
            || '|\\\((?:[^\\]|\\[^()])*\\\)|\\\[(?:[^\\]|\\[^\[\]])*\\\]|\\[A-Za-z]+(?:\{[^{}\n]*\})*'
            || '|\bhttps?://[^' || white() || ']+', ' ', 'g'), '[\x{300}-\x{36F}\x{200C}\x{200D}]', '', 'g') AS prose
        FROM thoughts
    ), others AS (
        SELECT regexp_replace(prose, '[' || (SELECT string_agg(letters, '') FROM scripts) || ']', '0', 'g') AS prose,
            row
        FROM prose
    )
    SELECT row, name, CASE WHEN chars_per_word > 1
        THEN len(regexp_extract_all(prose, '[' || letters || ']')) / chars_per_word
        ELSE len(list_filter(regexp_extract_all(prose, '[' || letters || ']+(?:[''’][' || letters || ']+)*'),
                             lambda word: length(word) >= needed)) END AS words
    FROM prose, scripts
    UNION ALL
    SELECT row, 'Other', len(regexp_extract_all(prose, '\p{L}+(?:[''’]\p{L}+)*')) FROM others;

-- paragraphs
CREATE OR REPLACE TABLE paragraphs AS
    WITH split AS (
        SELECT row, unnest(regexp_split_to_array(text, '\n[' || white() || ']*\n')) AS paragraph,
            generate_subscripts(regexp_split_to_array(text, '\n[' || white() || ']*\n'), 1) AS place
        FROM texts
    ), stripped AS (
        SELECT row, place,
            regexp_replace(regexp_replace(paragraph, '^[' || white() || ']+', ''), '[' || white() || ']+$', '')
                AS paragraph
        FROM split
    )
    SELECT row, length(paragraph) AS chars,
        row_number() OVER (PARTITION BY row, paragraph ORDER BY place) > 1 AS repeats
    FROM stripped WHERE paragraph <> '';

-- contamination: the item with the highest coverage, and the first run of its n-grams
CREATE OR REPLACE TABLE contaminated AS
    WITH wanted AS (
        SELECT DISTINCT row AS item, gram FROM ngrams, spec WHERE kind = 'item' AND NOT signs
        QUALIFY count(DISTINCT row) OVER (PARTITION BY gram) <= max_df
    ), sizes AS (SELECT item, count(*) AS size FROM wanted GROUP BY ALL
    ), hits AS (
        SELECT row, item, gram, place, start, until,
            place - row_number() OVER (PARTITION BY row, item ORDER BY place) AS run
        FROM ngrams JOIN wanted USING (gram) WHERE kind = 'text' AND NOT signs
    ), runs AS (
        SELECT row, item, min(start) AS start, max(until) AS until FROM hits GROUP BY row, item, run
    ), covered AS (SELECT row, item, count(DISTINCT gram) AS hits FROM hits GROUP BY ALL
    )
    SELECT row, hits, item, hits / size AS coverage, min(start) AS start, arg_min(until, start) AS until
    FROM covered JOIN sizes USING (item) JOIN runs USING (row, item)
    GROUP BY row, item, hits, size
    QUALIFY row_number() OVER (PARTITION BY row ORDER BY coverage DESC, hits DESC, item) = 1;

CREATE OR REPLACE TABLE measured AS
    WITH counted AS (SELECT row, count(*) AS tokens FROM tokens WHERE kind = 'text' AND signs GROUP BY ALL
    ), distinct_ngrams AS (SELECT row, count(*) AS shingles FROM shingles GROUP BY ALL
    ), paragraph_counts AS (
        SELECT row, count(*) AS paragraphs, max(chars) AS longest,
            coalesce(sum(chars) FILTER (repeats), 0) / sum(chars) AS repeated
        FROM paragraphs GROUP BY ALL
    ), by_script AS (PIVOT words ON name IN (
        Latin, Han, Kana, Hangul, Cyrillic, Greek, Arabic, Hebrew, Devanagari, Bengali, Gurmukhi, Gujarati, Tamil,
        Telugu, Kannada, Malayalam, Sinhala, Thai, Lao, Myanmar, Khmer, Georgian, Armenian, Ethiopic, Other
    ) USING sum(words) GROUP BY row)
    SELECT row, length(text) AS chars, octet_length(encode(text)) AS bytes,
        if(text IS NULL, NULL, coalesce(tokens, 0)) AS tokens,
        if(text IS NULL, NULL, coalesce(shingles, 0)) AS shingles,
        exact.digest AS exact, normal.digest AS normal, bands.bands,
        CASE WHEN tokens >= n THEN 1 - shingles / (tokens - n + 1) END AS repeated_ngrams,
        if(text IS NULL, NULL, coalesce(paragraphs, 0)) AS paragraphs,
        if(text IS NULL, NULL, coalesce(longest, 0)) AS longest_paragraph,
        if(text IS NULL, NULL, coalesce(repeated, 0)) AS repeated_paragraphs,
        (length(thought) - length(replace(thought, '```', ''))) // 3 AS code_fences,
        len(list_filter(tags, lambda tag: tag = '<think>')) AS think_open,
        len(list_filter(tags, lambda tag: tag = '</think>')) AS think_close,
        len(list_filter(tags, lambda tag: tag = '<answer>')) AS answer_open,
        len(list_filter(tags, lambda tag: tag = '</answer>')) AS answer_close,
        tags = ['<think>', '</think>', '<answer>', '</answer>'] AND opens AS well_formed,
        CASE WHEN thinks THEN length(thought) END AS thought_chars,
        Latin AS words_latin, Han AS words_han, Kana AS words_kana, Hangul AS words_hangul,
        Cyrillic AS words_cyrillic, Greek AS words_greek, Arabic AS words_arabic, Devanagari AS words_devanagari,
        Bengali AS words_bengali,
        Hebrew + Gurmukhi + Gujarati + Tamil + Telugu + Kannada + Malayalam + Sinhala + Thai + Lao + Myanmar + Khmer
            + Georgian + Armenian + Ethiopic + Other AS words_other,
        if(text IS NULL, NULL, coalesce(hits, 0)) AS gram_hits,
        if(text IS NULL, NULL, coalesce(item, -1)) AS gram_item,
        if(text IS NULL, NULL, coalesce(coverage, 0)) AS gram_coverage,
        if(text IS NULL, NULL, coalesce(start, -1)) AS gram_start,
        if(text IS NULL, NULL, coalesce(until, -1)) AS gram_end
    FROM texts LEFT JOIN thoughts USING (row, text) LEFT JOIN counted USING (row) LEFT JOIN distinct_ngrams USING (row)
        LEFT JOIN bands USING (row) LEFT JOIN paragraph_counts USING (row) LEFT JOIN by_script USING (row)
        LEFT JOIN contaminated USING (row)
        LEFT JOIN digests exact ON exact.row = texts.row AND exact.kind = 'exact'
        LEFT JOIN digests normal ON normal.row = texts.row AND normal.kind = 'normal', spec
    ORDER BY row;
