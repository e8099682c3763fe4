"""The one exception of the importer. Its message is the line that the user reads."""


class ImportRefused(Exception):
    """A source that cannot become a model folder, or a destination that cannot hold it.

    The message says what was wanted, what was found, and what to do.
    """
