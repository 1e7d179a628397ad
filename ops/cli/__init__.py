"""The command `lamplighter`, and what all its commands share.

main: the command tree and the entry point.
__main__: makes `python -m ops.cli` the same as `lamplighter`.
lazy: command groups that import a command only when it runs.
session: the settings, the broker and the stores, opened when a command uses them.
options: option types, and options that several commands have.
ids: request ids in short, and what a short one means.
terminal: tables, lines and JSON that are safe to print.
files: files and spreadsheet cells that are safe to write.
progress: a progress bar, and a limit on the rate of a long operation.
errors: one line and an exit code for each known error.
"""
