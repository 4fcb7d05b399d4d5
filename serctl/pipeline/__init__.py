"""`serctl run`: read a recipe, plan its steps, estimate time and space, and run them."""

from serctl.pipeline.recipe import Recipe, RecipeStep, plan_recipe, read_plan

__all__ = ["Recipe", "RecipeStep", "plan_recipe", "read_plan"]
