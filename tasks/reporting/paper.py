"""Published results by stage (Nature version, table 2; base: arXiv v1) that stand beside ours in the report."""

STAGES = ("base", "r1_zero", "dev1", "dev2", "dev3", "r1")

# Percent; None where nothing is published.
BY_STAGE = {
    "AIME 2024 pass@1": {"base": 15.6, "r1_zero": 77.9, "dev1": 59.0, "dev2": 74.0, "dev3": 78.1, "r1": 79.8},
    "MATH-500 pass@1": {"base": None, "r1_zero": 95.9, "dev1": 94.2, "dev2": 95.9, "dev3": 95.4, "r1": 97.3},
    "IF-Eval prompt strict": {"base": None, "r1_zero": 46.6, "dev1": 71.7, "dev2": 72.0, "dev3": 78.1, "r1": 83.3},
}
DISTILL_VS_RL = {  # Qwen2.5-32B, percent
    "distilled": {"AIME 2024 pass@1": 72.6, "MATH-500 pass@1": 94.3},
    "RL alone": {"AIME 2024 pass@1": 47.0, "MATH-500 pass@1": 91.6},
}
