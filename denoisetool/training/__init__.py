"""Training: recipes, photos, a camera as degradation, losses, the loop, export."""
