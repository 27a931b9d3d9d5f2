"""The report of stored results: a page, a table for LaTeX, a table for programs, figures; and the gallery."""
