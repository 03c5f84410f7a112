"""The command `check`: contracts in a child process, and bundles that replay a finding."""
