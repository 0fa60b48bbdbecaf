"""The `lumiere` command: one small file per subcommand."""
