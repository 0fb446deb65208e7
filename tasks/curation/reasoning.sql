-- Candidates as curation reads them: each with its prompt and its verdict. A candidate without a verdict stays in, and
-- the rule `verdict` rejects it.
-- In: $candidates, $verdicts, $prompts, Parquet files of COMPLETION, VERDICT and PROMPT rows (tasks/rows.py).

SELECT c.id, c.prompt_id, p.text AS prompt, c.text, c."index", c.finish, p.language, p.domain, p.source,
       v.status AS verdict, v.method AS verified_by, v.verifier
FROM read_parquet($candidates) c
JOIN read_parquet($prompts) p ON p.id = c.prompt_id
LEFT JOIN read_parquet($verdicts) v ON v.completion_id = c.id
