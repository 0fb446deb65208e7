-- Filters: rules on one candidate by itself (paper 2.3.3: mixed languages, long paragraphs, code blocks), and what the
-- field found to matter beside them. A rule whose threshold is NULL is off.
-- In: `measured` (one row per candidate: tasks/curation/shards.py), $parameters of Filters (tasks/curation/policy.py).
-- Out: view `filters` (row, decisions): every rule that is on, for every candidate, in this order.

CREATE OR REPLACE TABLE thresholds AS
SELECT $min_language_share::DOUBLE AS min_language_share,
       $max_paragraph_chars::DOUBLE AS max_paragraph_chars,
       $max_code_fences::DOUBLE AS max_code_fences,
       if($complete, 1::DOUBLE, NULL) AS complete,
       if($thought, 1::DOUBLE, NULL) AS thought,
       if($well_formed, 1::DOUBLE, NULL) AS well_formed,
       $min_tokens::DOUBLE AS min_tokens,
       $max_tokens::DOUBLE AS max_tokens,
       $max_repeated_ngrams::DOUBLE AS max_repeated_ngrams,
       $max_repeated_paragraphs::DOUBLE AS max_repeated_paragraphs,
       if($openings > 0, 0::DOUBLE, NULL) AS refused_openings;

CREATE OR REPLACE VIEW filters AS
SELECT row, list_filter([
    {   -- a chain of thought without any word mixes no languages
        rule: 'mixed_language', value: language_share, threshold: t.min_language_share,
        keep: words = 0 OR coalesce(language_share >= t.min_language_share, false),
        evidence: CASE WHEN words = 0 THEN 'no words'
                       WHEN language_share IS NULL THEN 'no script is known for language ' || language
                       WHEN language_share < t.min_language_share THEN 'language ' || language END
    },
    {   rule: 'long_paragraph', value: longest_paragraph::DOUBLE, threshold: t.max_paragraph_chars,
        keep: longest_paragraph <= t.max_paragraph_chars, evidence: NULL },
    {   rule: 'code_block', value: code_fences::DOUBLE, threshold: t.max_code_fences,
        keep: code_fences <= t.max_code_fences, evidence: NULL },
    {   -- where nobody says how sampling ended, a think block that never closes was cut off
        rule: 'truncated', value: m.complete::INT::DOUBLE, threshold: t.complete, keep: m.complete,
        evidence: CASE WHEN m.complete THEN NULL WHEN finish IS NULL THEN 'the think block never closes'
                       ELSE 'ended by ' || finish END
    },
    {   rule: 'no_thought', value: coalesce(thought_chars, 0)::DOUBLE, threshold: t.thought,
        keep: coalesce(thought_chars, 0) > 0, evidence: if(thought_chars IS NULL, 'no closed think block', NULL) },
    {   rule: 'bad_format', value: m.well_formed::INT::DOUBLE, threshold: t.well_formed, keep: m.well_formed,
        evidence: if(m.well_formed, NULL, format('<think> {} </think> {} <answer> {} </answer> {}',
                                               think_open, think_close, answer_open, answer_close)) },
    {   rule: 'too_short', value: tokens::DOUBLE, threshold: t.min_tokens, keep: tokens >= t.min_tokens,
        evidence: NULL },
    {   rule: 'too_long', value: tokens::DOUBLE, threshold: t.max_tokens, keep: tokens <= t.max_tokens,
        evidence: NULL },
    {   -- a text shorter than one n-gram repeats none
        rule: 'repeated_ngrams', value: repeated_ngrams, threshold: t.max_repeated_ngrams,
        keep: coalesce(repeated_ngrams <= t.max_repeated_ngrams, true), evidence: NULL },
    {   rule: 'repeated_paragraphs', value: repeated_paragraphs, threshold: t.max_repeated_paragraphs,
        keep: coalesce(repeated_paragraphs <= t.max_repeated_paragraphs, true), evidence: NULL },
    {   rule: 'refusal', value: (opening IS NOT NULL)::INT::DOUBLE, threshold: t.refused_openings,
        keep: opening IS NULL, evidence: 'opens with "' || opening || '"' }
], lambda d: d.threshold IS NOT NULL) AS decisions
FROM (SELECT *, coalesce(finish <> 'length', think_open <= think_close) AS complete FROM measured) m, thresholds t;
