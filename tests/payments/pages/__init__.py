"""Tests of the pages of payments."""
