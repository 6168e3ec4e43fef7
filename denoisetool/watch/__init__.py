"""A folder that cleans whatever arrives, for months, and can prove that it missed nothing.

observe.py   hints from the system; whether they still come
scan.py      looking through a folder
scout.py     finds what arrives and waits until it is complete (a thread)
worker.py    does the photos (a process)
after.py     what comes after a photo, in which order
finish.py    the steps of it: originals moved away, a command run (a thread)
pause.py     times in which nothing can be begun
watcher.py   the loop between them, which keeps the books
ledger.py    the books: every photo ever seen, and what became of it
folder.py    one watched folder, and the options of a watch
lock.py      one watcher per folder; its signs of life; how it stands
service.py   having the system run it for good
"""

from denoisetool.watch.folder import Folder, Options, destination, output_folder
from denoisetool.watch.ledger import Ledger, ledger_path
from denoisetool.watch.lock import ask_to_look, held, is_held, status
from denoisetool.watch.watcher import Watcher

__all__ = [
    "Folder",
    "Ledger",
    "Options",
    "Watcher",
    "ask_to_look",
    "destination",
    "held",
    "is_held",
    "ledger_path",
    "output_folder",
    "status",
]
