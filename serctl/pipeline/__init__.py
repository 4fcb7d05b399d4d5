"""`serctl run`: read a recipe, plan its steps, estimate time and space, and run them."""

from serctl.pipeline.recipe import Recipe, Step, plan_steps, read_plan

__all__ = ["Recipe", "Step", "plan_steps", "read_plan"]
