"""The protocol of an evaluation: a score without it cannot be compared, and two with different ones refuse to be."""

from collections.abc import Mapping

from pydantic import Field

from tasks.settings import Settings


class ProtocolError(ValueError):
    """Numbers measured under different protocols were about to be put side by side."""


class Protocol(Settings):
    """Everything that two scores must share before they may stand in one table."""

    problems: int = Field(ge=1, description="number of problems")
    k: int = Field(ge=1, description="samples per problem")
    seed: int = Field(description="root seed of the run; the sampling seeds derive from it")
    temperature: float = Field(ge=0)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(ge=1, description="token limit of a completion")
    split: str = Field(description="split of the prompt bank")
    template: str
    template_hash: str
    verifier: str = Field(description="version hash of the verifier")
    sources: list[str] = Field(description="sources of the problems, by name")

    def words(self) -> str:
        """One line for people, printed with every table."""
        return (
            f"{self.problems} problems of the {self.split} split ({', '.join(self.sources)}), k = {self.k} samples each, "
            f"T = {self.temperature:g}, top-p {self.top_p:g}, at most {self.max_tokens} tokens, "
            f"template {self.template} ({self.template_hash[:8]}), verifier {self.verifier[:8]}, seed {self.seed}"
        )


def common(metrics: Mapping[str, Mapping]) -> Protocol:
    """The one protocol of several models' metrics; ProtocolError names the models and the keys that differ."""
    if not metrics:
        raise ProtocolError("no evaluated model: nothing to compare; run `r1 run evaluate`")
    protocols = {}
    for name, values in metrics.items():
        if not values.get("protocol"):
            raise ProtocolError(f"metrics of {name} carry no protocol; evaluate it again: `r1 run evaluate@{name}`")
        protocols[name] = Protocol.model_validate(values["protocol"])
    first, reference = next(iter(protocols.items()))
    for name, protocol in protocols.items():
        left, right = reference.model_dump(), protocol.model_dump()
        if differing := [key for key in left if left[key] != right[key]]:
            told = ", ".join(f"{key}: {left[key]!r} against {right[key]!r}" for key in differing)
            raise ProtocolError(
                f"{first} and {name} were evaluated under different protocols ({told}); their numbers do not belong in one "
                f"table. Evaluate both again under one protocol: `r1 run evaluate@{first} evaluate@{name}`"
            )
    return reference
