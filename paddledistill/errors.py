"""The one exception that means "the user can mend this"."""


class UserError(Exception):
    """Bad input: a missing file, a wrong column, a broken checkpoint, arguments that do not fit.

    The message is one line that says what is wrong, where, and what to do. The command line prints it and exits with 2.
    """
