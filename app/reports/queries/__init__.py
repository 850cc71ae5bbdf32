"""Reads across features. This is the only package that may read other features' tables."""

from app.reports.queries.catalogue import REPORTS, report, report_data, report_list_page, report_page
from app.reports.queries.dashboard import home_page
from app.reports.queries.sellers import seller_activity_page

__all__ = ["REPORTS", "home_page", "report", "report_data", "report_list_page", "report_page", "seller_activity_page"]
