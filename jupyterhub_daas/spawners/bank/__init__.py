"""The hub's side of the bank: it makes and ends the machines that the bank's rules ask for."""

from jupyterhub_daas.spawners.bank.keeper import BankKeeper, Cloud, Condition

__all__ = ["BankKeeper", "Cloud", "Condition"]
