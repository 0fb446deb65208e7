"""What a recipe would cost, stage by stage, before anything runs: tokens, GPU-hours, wall time, memory, disk, money.

recipe: the values with what stands in for nulls. work: pieces that a roofline can price. stages: what each stage does.
wall: stages side by side on n devices. disk: what it takes, and whether there is room. plan: all of it together.
"""
