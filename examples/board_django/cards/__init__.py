"""The cards: their table, who sees them, and the page."""
