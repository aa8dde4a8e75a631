"""What is raised where a setting is missing or malformed."""


class SettingsError(Exception):
    """One line that names every setting that is missing or malformed."""
