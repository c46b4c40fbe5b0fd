"""Files with one known fault each, and how often `con360 check` finds it."""
