"""The demo: everything a facility would run, on one computer and for one person.

Nothing here is part of the installed package.
"""
