"""HTML pages for people, each in one file that loads nothing else."""
