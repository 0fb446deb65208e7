"""The one base class of every typed setting: frozen, unknown keys refused, ranges checked."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator


class Settings(BaseModel):
    """A section of params.yaml, or a block inside one. Fields say their unit and source in `description`.

    `null` for a value that the paper does not publish is an error, except where the caller validates with
    `context={"unpublished": True}`: to check or plan recipes/paper.yaml, never to run it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _null_means_not_published(cls, value: Any, handler, info: ValidationInfo) -> Any:
        plan_only = bool(info.context and info.context.get("unpublished"))
        try:
            return handler(value)
        except ValidationError:
            if value is None:
                pass
            elif plan_only and isinstance(value, dict) and None in value.values():
                return handler({k: v for k, v in value.items() if v is not None})  # a mapping of plain values
            else:
                raise
        if plan_only:
            return None
        raise ValueError("is null, which stands for `not published`: give a value")
