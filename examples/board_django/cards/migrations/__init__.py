"""The changes of the table."""
