"""Makers of test data, one module per feature; each calls the feature's services, so that what they make could really exist."""
