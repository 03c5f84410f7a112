"""What was measured, for people: tables in the terminal, and self-contained HTML pages."""
