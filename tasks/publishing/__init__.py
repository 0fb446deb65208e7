"""Artifacts as others read them: folders for `datasets`, TRL, transformers and vLLM, with cards; and the Hub."""
