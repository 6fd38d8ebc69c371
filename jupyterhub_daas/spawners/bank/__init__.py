"""The hub's side of the bank: it makes and ends the machines that the bank's rules ask for."""

from jupyterhub_daas.spawners.bank.keeper import BankKeeper, Cloud, Condition
from jupyterhub_daas.spawners.bank.rounds import BankRounds

__all__ = ["BankKeeper", "BankRounds", "Cloud", "Condition"]
