"""The one exception: its text is a line for a person, perhaps with the last lines of a log below it."""


class StackError(Exception):
    pass
