"""One step as it passes through the layers. Metadata is an argument, never a global."""


class Batch:
    """What a step brings beside the hidden states: tokens, positions, where they attend.

    Models and layers hand it on; only the backend that it was made for looks inside.
    """
