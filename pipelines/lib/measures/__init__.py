"""Measures of scores, of distributions and of neighbours. They know arrays, not tables."""
