"""Accounts: conditions of use and who accepted them, favourites, preferences, blocks and roles."""
