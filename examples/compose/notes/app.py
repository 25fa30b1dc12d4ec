"""Takes a note every second, in a SQLite database with a write-ahead log."""

import sqlite3
import sys
import time

notes = sqlite3.connect(sys.argv[1])
notes.execute("PRAGMA journal_mode = wal")
notes.execute("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, taken TEXT, text TEXT)")
while True:
    with notes:
        notes.execute("INSERT INTO note (taken, text) VALUES (datetime(), hex(randomblob(20)))")
    time.sleep(1)
