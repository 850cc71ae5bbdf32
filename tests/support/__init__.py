"""What the tests stand on: a database, a browser, and the makers of their data."""
