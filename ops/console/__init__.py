"""The console: how the site stands, on a web page, live; with a login, dead letters are dealt with."""
