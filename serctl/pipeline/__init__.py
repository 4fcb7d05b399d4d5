"""`serctl run`: a recipe, the plan it stands for, what that takes, and carrying it out."""

from serctl.pipeline.recipe import Recipe, Step, plan_steps, read_plan

__all__ = ["Recipe", "Step", "plan_steps", "read_plan"]
