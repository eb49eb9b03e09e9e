"""How sure a model's answer is: intervals of what it draws, and photos unlike those of its training."""
