"""The one base class of every typed setting: frozen, unknown keys refused, ranges checked."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A section of params.yaml, or a block inside one. Fields say their unit and source in `description`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
