"""The subcommands of `abo-vqa`, one module each."""
