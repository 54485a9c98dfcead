"""The commands of `regions`, a file for each family; consumer/cli.py puts them together."""
