"""The report of an evaluation: tables, figures and numbers."""
