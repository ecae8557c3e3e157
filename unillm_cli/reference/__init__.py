"""What is derived from the table of commands: completions and man pages.

`python -m unillm.unillm_cli.reference` writes them.
"""
