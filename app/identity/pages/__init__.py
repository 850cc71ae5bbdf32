"""Pages of signing in and of one's own account."""

from app.identity.pages import authenticator, passkeys, passwords, sign_in

step_up = sign_in.step_up

ROUTES = [*sign_in.ROUTES, *passkeys.ROUTES, *passwords.ROUTES, *authenticator.ROUTES]
