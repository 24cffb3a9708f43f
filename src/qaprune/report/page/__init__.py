"""report.html: the whole report as one file that asks no network for anything."""
