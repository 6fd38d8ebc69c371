"""The proposal-data API: whose proposals, with which members, datasets and folders.

What is answered is always one whole snapshot of the facility's directory: the last one free of errors.
"""
