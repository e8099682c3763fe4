"""The chart, rendered by Helm and looked at as data."""
