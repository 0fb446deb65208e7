"""IFEval (Zhou et al. 2023): `prompt`, `instruction_id_list`, `kwargs`; programs check the response, without a gold."""

from tasks.prompts.formats.found import Found, parsed, text_of

DOMAIN = "instructions"
COLUMNS = ("prompt", "instruction_id_list", "kwargs")


def convert(row: dict) -> Found:
    kwargs = [parsed(given) for given in parsed(row["kwargs"])]
    return Found(text_of(row, "prompt"), meta={"instruction_ids": row["instruction_id_list"], "kwargs": kwargs})
