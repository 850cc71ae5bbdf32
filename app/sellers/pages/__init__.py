"""Pages about sellers and where their money goes."""

from app.sellers.pages import bank_accounts, sellers

ROUTES = [*sellers.ROUTES, *bank_accounts.ROUTES]
