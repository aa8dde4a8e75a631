"""The error of missing or malformed settings."""


class SettingsError(Exception):
    """One line that names every setting that is missing or malformed."""
