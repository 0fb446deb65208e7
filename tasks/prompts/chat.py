"""The prompt template as a chat template: messages become exactly the text that the models here were trained on.

For who has messages and not our rendered text: a checkpoint outside this repository, TRL's conversational sets, the
chat endpoint of a server. `tasks/prompts/templates.py` stays the one place where the wording stands.
"""

import json

from tasks.prompts.templates import render

_MARK = "{question}"


def chat_template(template: str) -> str:
    """Jinja text for a tokenizer's `chat_template` (transformers, TRL, vLLM); ValueError where the template is unknown.

    One user message gives `render(template, content)`; an assistant message follows it with the end of sequence, inside
    `generation` tags, by which TRL's `assistant_only_loss` finds what to train on. No model here was trained with a system
    message or with several turns: the first is refused, further turns are strung together as they come.
    """
    before, after = (json.dumps(part, ensure_ascii=False) for part in render(template, _MARK).split(_MARK))
    return (
        "{%- for message in messages -%}"
        "{%- if message.role == 'user' -%}{{- " + before + " + message.content -}}"
        "{%- elif message.role == 'assistant' -%}{{- " + after + " -}}"
        "{%- generation -%}{{- message.content + eos_token -}}{%- endgeneration -%}"
        "{%- else -%}{{- raise_exception('no message of role ' + message.role + ': only user and assistant') -}}{%- endif -%}"
        "{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- " + after + " -}}{%- endif -%}"
    )


def user(content: str) -> dict[str, str]:
    """A message of the user's."""
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    """A message of the model's."""
    return {"role": "assistant", "content": content}
