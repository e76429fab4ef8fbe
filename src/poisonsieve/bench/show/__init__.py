"""Show results as tables, figures and reports."""
