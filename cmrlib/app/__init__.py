"""The command line, and notebooks run in batches."""
