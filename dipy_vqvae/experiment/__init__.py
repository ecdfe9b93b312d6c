"""The MNIST experiment, from the digits to a report; see :mod:`.run`."""
