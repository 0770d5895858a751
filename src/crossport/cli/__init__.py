"""The command line: a thin client of the API, which starts a site of its own when none is configured."""
