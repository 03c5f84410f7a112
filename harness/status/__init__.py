"""What a command of the harness does and how far it is, on stderr while it works; needs only the standard library."""
