"""The bundle's programs, built, started from the files in ``collector/``, driven and asked. Knows no test."""
