"""One rehearsed restore in a throw-away container."""
